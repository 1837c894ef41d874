#include "bind_launch.hpp"
#include "preprocess.cuh"

namespace jetpose {
namespace {

using Plane = Array<const u8, 1>;

i64 row_bytes(int format, i64 width) {
  return width * (format <= preprocess::kRgb8 ? 3 : format == preprocess::kYuyv ? 2 : 1);
}

// Bytes that the rows of a plane need.
i64 plane_bytes(i64 rows, i64 row, i64 stride) { return (rows - 1) * stride + row; }

// planes: on the host or on the device; the second is read of nv12 only.
preprocess::Image as_image(std::array<const u8*, 2> planes, std::array<i64, 2> strides, int format,
                           std::array<int, 2> size_wh) {
  const int w = size_wh[0], h = size_wh[1];
  require(format >= preprocess::kBgr8 && format <= preprocess::kYuyv, "preprocess: unknown format");
  require(w > 0 && h > 0 && w <= 65536 && h <= 65536, "preprocess: frame size");
  const i64 most = i64(1) << 40;
  require(strides[0] >= row_bytes(format, w) && strides[0] < most && strides[1] >= 0 && strides[1] < most,
          "preprocess: stride");
  if (format == preprocess::kNv12) require(w % 2 == 0 && h % 2 == 0 && strides[1] >= w, "preprocess: chroma plane");
  if (format == preprocess::kYuyv) require(w % 2 == 0, "preprocess: odd width");
  return {{planes[0], planes[1]}, {strides[0], strides[1]}, format, w, h};
}

void check_planes(const preprocess::Image& image, const Plane& first, const Plane& second) {
  require((i64)first.size() >= plane_bytes(image.height, row_bytes(image.format, image.width), image.strides[0]),
          "preprocess: plane too small");
  if (image.format == preprocess::kNv12)
    require((i64)second.size() >= plane_bytes(image.height / 2, image.width, image.strides[1]),
            "preprocess: chroma plane");
}

preprocess::Params make_params(Array<const double, 2> inverse, std::array<int, 2> size_wh, std::array<int, 4> inner,
                               int cubic, int round_pixels, int replicate, int colour, float pad,
                               std::array<float, 3> mean, std::array<float, 3> std_) {
  require(inverse.shape(0) == 2 && inverse.shape(1) == 3, "preprocess: inverse must be (2, 3)");
  require(size_wh[0] > 0 && size_wh[1] > 0 && size_wh[0] <= 65536 && size_wh[1] <= 65536, "preprocess: output size");
  require(colour >= preprocess::kRgb && colour <= preprocess::kGray, "preprocess: unknown colour");
  preprocess::Params p{};
  for (int i = 0; i < 6; ++i) p.inverse[i] = inverse.data()[i];
  p.width = size_wh[0];
  p.height = size_wh[1];
  p.left = clampi(inner[0], 0, p.width);
  p.top = clampi(inner[1], 0, p.height);
  p.right = clampi(inner[2], p.left, p.width);
  p.bottom = clampi(inner[3], p.top, p.height);
  p.cubic = cubic;
  p.round_pixels = round_pixels;
  p.replicate = replicate;
  p.colour = colour;
  p.pad = pad;
  for (int c = 0; c < 3; ++c) {
    p.mean[c] = mean[c];
    p.std[c] = std_[c];
  }
  return p;
}

template <class Out>
void bind_run(const preprocess::Params& p, Plane first, Plane second, std::array<i64, 2> strides, int format,
              std::array<int, 2> size_wh, Array<Out, 3> out) {
  const preprocess::Image image = as_image({first.data(), second.data()}, strides, format, size_wh);
  check_planes(image, first, second);
  require((int)out.shape(0) == preprocess::output_channels(p) && (int)out.shape(1) == p.height &&
              (int)out.shape(2) == p.width,
          "preprocess: shape of out");
  const std::size_t table = (std::size_t)preprocess::kMaxTaps * p.width, wide = 3 * ((std::size_t)image.width + 2);
  Scratch scratch;
  int* index = scratch.take<int>(table);
  float* weight = scratch.take<float>(table);
  float* line = scratch.take<float>(wide);
  const preprocess::Scratch memory{index, weight, line, scratch.take<u8>(preprocess::kMaxTaps * wide)};
  Out* to = out.data();
  run([&](const auto& g) { preprocess::run(g, p, image, memory, to); });
}

preprocess::Image device_image(std::array<std::uintptr_t, 2> planes, std::array<i64, 2> strides, int format,
                               std::array<int, 2> size_wh) {
  require(planes[0] != 0 && (planes[1] != 0 || format != preprocess::kNv12), "preprocess: address of a plane");
  return as_image({reinterpret_cast<const u8*>(planes[0]), reinterpret_cast<const u8*>(planes[1])}, strides, format,
                  size_wh);
}

void check_out(std::uintptr_t out, bool half) {
  require(out != 0 && out % (half ? 2 : 4) == 0, "preprocess: address of out");
}

// 32 threads along a row write 128 bytes; 8 rows of them read a part of the frame that fits the cache.
constexpr Size3 kBlock{32, 8, 1};
Size3 grid_for(int width, int height, int crops) {
  return {(width + kBlock[0] - 1) / kBlock[0], (height + kBlock[1] - 1) / kBlock[1], (unsigned)crops};
}

nb::tuple plan(const preprocess::Params& p, std::array<std::uintptr_t, 2> planes, std::array<i64, 2> strides,
               int format, std::array<int, 2> size_wh, std::uintptr_t out, bool half) {
  const preprocess::Image image = device_image(planes, strides, format, size_wh);
  check_out(out, half);
  const Size3 grid = grid_for(p.width, p.height, 1);
  return as_tuple(half ? JP_LAUNCH(jetpose_preprocess_half, grid, kBlock, image, p,
                                   reinterpret_cast<unsigned short*>(out))
                       : JP_LAUNCH(jetpose_preprocess, grid, kBlock, image, p, reinterpret_cast<float*>(out)));
}

// Of each crop its parameters, and of the rest up to `room` a size of 0: what lies at `crops` of plan_crops.
nb::bytes crops_bytes(const std::vector<preprocess::Params>& crops, int room) {
  require((i64)crops.size() <= room, "preprocess: more crops than there is room for");
  for (const auto& crop : crops)
    require(crop.width == crops[0].width && crop.height == crops[0].height && crop.colour == crops[0].colour,
            "preprocess: crops of one size and colour");
  std::vector<preprocess::Params> all(crops);
  all.resize(room, preprocess::Params{});
  return nb::bytes(all.data(), all.size() * sizeof(preprocess::Params));
}

// crops: address of `room` parameters; each output (C, height, width) of size out_wh follows the one before.
nb::tuple plan_crops(std::array<std::uintptr_t, 2> planes, std::array<i64, 2> strides, int format,
                     std::array<int, 2> size_wh, std::array<int, 2> out_wh, int room, std::uintptr_t crops,
                     std::uintptr_t out, bool half) {
  const preprocess::Image image = device_image(planes, strides, format, size_wh);
  check_out(out, half);
  require(crops != 0 && crops % alignof(preprocess::Params) == 0, "preprocess: address of the crops");
  require(room > 0 && room <= 65535, "preprocess: wanted 1 to 65535 crops");
  require(out_wh[0] > 0 && out_wh[1] > 0 && out_wh[0] <= 65536 && out_wh[1] <= 65536, "preprocess: output size");
  const auto* params = reinterpret_cast<const preprocess::Params*>(crops);
  const Size3 grid = grid_for(out_wh[0], out_wh[1], room);
  return as_tuple(half ? JP_LAUNCH(jetpose_preprocess_crops_half, grid, kBlock, image, params,
                                   reinterpret_cast<unsigned short*>(out))
                       : JP_LAUNCH(jetpose_preprocess_crops, grid, kBlock, image, params,
                                   reinterpret_cast<float*>(out)));
}

}  // namespace

void bind_preprocess(nb::module_& m) {
  nb::class_<preprocess::Params>(m, "PreprocessParams");
  m.def("preprocess_params", &make_params);
  m.def("preprocess", &bind_run<float>);
  m.def("preprocess_half", &bind_run<unsigned short>);  // out: the bits of float16
  m.def("plan_preprocess", &plan);
  m.def("preprocess_crops", &crops_bytes);
  m.def("plan_preprocess_crops", &plan_crops);
}

}  // namespace jetpose
