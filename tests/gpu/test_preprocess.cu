// jetpose_preprocess and jetpose_preprocess_crops with their _half against the CPU build: every frame format, padded
// strides, colours, both interpolations, upright, scaled and turned, padding and edge rules. All results are exact.
#include "harness.cuh"

namespace {

constexpr const char* kFormats[] = {"bgr8", "rgb8", "gray8", "nv12", "yuyv"};
constexpr const char* kColours[] = {"rgb", "bgr", "gray"};

// A frame of random bytes: `pad` bytes after every row.
struct Frame {
  preprocess::Image image;  // planes as offsets until placed
  std::vector<u8> bytes;
  std::size_t second;

  Frame(int format, int width, int height, int pad, unsigned seed) : image{} {
    const int per_pixel = format <= preprocess::kRgb8 ? 3 : format == preprocess::kYuyv ? 2 : 1;
    image.strides[0] = image.strides[1] = width * per_pixel + pad;
    image.format = format;
    image.width = width;
    image.height = height;
    second = image.strides[0] * height;
    std::mt19937 random(seed);
    bytes.resize(second + (format == preprocess::kNv12 ? image.strides[1] * (height / 2) : 0));
    for (auto& v : bytes) v = (u8)random();
  }
  preprocess::Image at(const u8* memory) const {
    preprocess::Image placed = image;
    placed.planes[0] = memory;
    placed.planes[1] = image.format == preprocess::kNv12 ? memory + second : nullptr;
    return placed;
  }
};

// Output to frame: scale, turned by `angle`; centres of both meet, the frame a little off.
preprocess::Params parameters(const Frame& f, int width, int height, int rule, int colour) {
  preprocess::Params p{};
  const double angle = rule == 2 ? 0.4 : 0, scale = rule == 0 ? 0.5 : 1.0 * f.image.width / width;
  const double c = scale * std::cos(angle), s = scale * std::sin(angle);
  const double matrix[6] = {c, -s, f.image.width / 2.0 - c * width / 2 + s * height / 2 + 0.3,
                            s, c,  f.image.height / 2.0 - s * width / 2 - c * height / 2};
  std::copy(matrix, matrix + 6, p.inverse);
  p.width = width;
  p.height = height;
  p.left = rule == 1 ? 1 : 0;
  p.top = rule == 1 ? height / 4 : 0;
  p.right = rule == 1 ? width - width / 5 : width;
  p.bottom = rule == 1 ? height - height / 4 : height;
  p.cubic = rule != 0;
  p.round_pixels = rule != 1;
  p.replicate = rule != 2;
  p.colour = colour;
  p.pad = 114;
  for (int i = 0; i < 3; ++i) {
    p.mean[i] = 110.0f + 7 * i;
    p.std[i] = 55.0f + i;
  }
  return p;
}

template <class Out>
std::vector<Out> on_the_cpu(const Frame& f, const preprocess::Params& p) {
  const std::size_t table = (std::size_t)preprocess::kMaxTaps * p.width, wide = 3 * ((std::size_t)f.image.width + 2);
  const std::size_t size = (std::size_t)preprocess::output_channels(p) * p.width * p.height;
  std::vector<int> index(table);
  std::vector<float> weight(table), line(wide);
  std::vector<u8> rows(preprocess::kMaxTaps * wide);
  std::vector<Out> wanted(size);
  preprocess::run(SerialGroup{}, p, f.at(f.bytes.data()),
                  preprocess::Scratch{index.data(), weight.data(), line.data(), rows.data()}, wanted.data());
  return wanted;
}

template <class Out>
void test(harness::Report& report, const std::string& name, const Frame& f, const preprocess::Params& p,
          void (*kernel)(preprocess::Image, preprocess::Params, Out*)) {
  const auto wanted = on_the_cpu<Out>(f, p);
  harness::Device<u8> bytes(f.bytes);
  for (const dim3 block : {dim3(32, 1), dim3(16, 12), dim3(7, 5)}) {
    harness::Device<Out> out(wanted.size());
    const dim3 grid((p.width + block.x - 1) / block.x, (p.height + block.y - 1) / block.y);
    harness::launch("preprocess", kernel, grid, block, f.at(bytes.get()), p, out.get());
    report.compare(name + " " + std::to_string(block.x) + "x" + std::to_string(block.y), out.host(), wanted, 0);
  }
}

// Three crops, and one that is not there.
template <class Out>
void test_crops(harness::Report& report, const std::string& name, const Frame& f, int colour,
                void (*kernel)(preprocess::Image, const preprocess::Params*, Out*)) {
  std::vector<preprocess::Params> crops;
  std::vector<Out> wanted;
  for (int rule = 0; rule < 3; ++rule) {
    crops.push_back(parameters(f, 33, 25, rule, colour));
    const auto one = on_the_cpu<Out>(f, crops.back());
    wanted.insert(wanted.end(), one.begin(), one.end());
  }
  crops.emplace_back();
  harness::Device<u8> bytes(f.bytes);
  harness::Device<preprocess::Params> params(crops);
  for (const dim3 block : {dim3(32, 8), dim3(7, 5)}) {
    harness::Device<Out> out(wanted.size());
    const dim3 grid((33 + block.x - 1) / block.x, (25 + block.y - 1) / block.y, 4);
    harness::launch(name.c_str(), kernel, grid, block, f.at(bytes.get()), (const preprocess::Params*)params.get(),
                    out.get());
    report.compare(name + " " + std::to_string(block.x) + "x" + std::to_string(block.y), out.host(), wanted, 0);
  }
}

}  // namespace

int main() {
  harness::require_gpu();
  harness::Report report;
  const int sizes[][2] = {{46, 30}, {2, 2}, {34, 62}};
  for (int format = preprocess::kBgr8; format <= preprocess::kYuyv; ++format)
    for (const auto& size : sizes)
      for (int rule = 0; rule < 3; ++rule)
        for (int colour = preprocess::kRgb; colour <= preprocess::kGray; ++colour) {
          const bool even = format >= preprocess::kNv12;  // these have pairs of pixels
          const Frame frame(format, size[0] + !even, size[1] + !even, 5 * colour, 10 * format + rule);
          const auto p = parameters(frame, 33, 25, rule, colour);
          const std::string name = std::string(kFormats[format]) + " " + std::to_string(frame.image.width) + " to " +
                                   kColours[colour] + (rule == 0 ? " bilinear" : rule == 1 ? " letterbox" : " turned");
          test<float>(report, name, frame, p, jetpose_preprocess);
          test<unsigned short>(report, name + " half", frame, p, jetpose_preprocess_half);
        }
  for (int format = preprocess::kBgr8; format <= preprocess::kYuyv; ++format)
    for (int colour = preprocess::kRgb; colour <= preprocess::kGray; ++colour) {
      const Frame frame(format, 46, 30, 7, format);
      const std::string name = std::string("crops ") + kFormats[format] + " to " + kColours[colour];
      test_crops<float>(report, name, frame, colour, jetpose_preprocess_crops);
      test_crops<unsigned short>(report, name + " half", frame, colour, jetpose_preprocess_crops_half);
    }
  return report.exit_code();
}
