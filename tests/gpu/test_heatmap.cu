// jetpose_heatmap against the CPU build: every refinement, odd sizes, broken maps, several block sizes.
#include "harness.cuh"

static std::vector<float> gaussian(int taps, double sigma) {
  std::vector<float> weights(taps);
  double sum = 0;
  for (int i = 0; i < taps; ++i) sum += std::exp(-(i - taps / 2) * (i - taps / 2) / (2 * sigma * sigma));
  for (int i = 0; i < taps; ++i)
    weights[i] = (float)(std::exp(-(i - taps / 2) * (i - taps / 2) / (2 * sigma * sigma)) / sum);
  return weights;
}

static heatmap::Params parameters(int width, int height, int refine, bool blur) {
  heatmap::Params p{};
  p.width = width;
  p.height = height;
  p.refine = refine;
  p.beta = 12;
  p.blur_taps = blur ? 9 : 0;
  p.kernel_taps = 11;
  const auto blur_weights = gaussian(9, 1.1), kernel_weights = gaussian(11, 2.0);
  std::copy(blur_weights.begin(), blur_weights.end(), p.blur);
  std::copy(kernel_weights.begin(), kernel_weights.end(), p.kernel);
  return p;
}

static void test(harness::Report& report, const heatmap::Params& p, const std::string& name, bool broken) {
  const int count = 12;
  const auto scene = harness::random_scene(1, count, p.width, p.height, 7u * p.refine + p.width);
  auto maps = harness::heatmaps(scene, p.height);
  if (broken) harness::spoil(maps);
  const std::size_t area = (std::size_t)p.width * p.height;
  for (std::size_t i = 0; i < area; ++i) maps[i] = p.blur_taps ? -1.0f : 0.0f;  // nothing in the first map
  std::vector<float> wanted, scratch(heatmap::scratch_size(p));
  for (int k = 0; k < count; ++k) {
    const auto point = heatmap::decode(SerialGroup{}, p, &maps[k * area], scratch.data());
    wanted.insert(wanted.end(), {point.x, point.y, point.score});
  }
  for (int threads : harness::block_sizes) {
    harness::Device<float> input(maps), memory(heatmap::scratch_size(p) * count), out(3 * count);
    harness::launch("heatmap", jetpose_heatmap, count, threads, input.get(), p, memory.get(), out.get());
    const bool transcendental = p.refine >= heatmap::kDark;  // logf and expf differ in the last bits
    report.compare(name + " " + std::to_string(threads), out.host(), wanted, transcendental ? 1e-3 : 1e-5);
  }
}

int main() {
  harness::require_gpu();
  harness::Report report;
  const char* names[] = {"none", "quarter", "quarter_axis", "quarter_low", "second_max", "dark", "udp", "soft_argmax"};
  const int sizes[][2] = {{48, 64}, {33, 17}, {5, 5}, {1, 1}, {200, 3}};
  for (const auto& size : sizes)
    for (int refine = 0; refine < 8; ++refine)
      for (int blur = 0; blur < 2; ++blur)
        for (int broken = 0; broken < 2; ++broken)
          test(report, parameters(size[0], size[1], refine, blur),
               std::string(names[refine]) + " " + std::to_string(size[0]) + "x" + std::to_string(size[1]) +
                   (blur ? " blurred" : "") + (broken ? " broken" : ""),
               broken);
  return report.exit_code();
}
