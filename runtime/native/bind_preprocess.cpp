#include <nanobind/stl/array.h>

#include <array>

#include "bind.hpp"
#include "preprocess.cuh"

namespace jetpose {
namespace {

using Plane = Array<const u8, 1>;

// Bytes that the rows of a plane need.
i64 plane_bytes(i64 rows, i64 row_bytes, i64 stride) { return (rows - 1) * stride + row_bytes; }

preprocess::Image as_image(const Plane& first, const Plane& second, std::array<i64, 2> strides, int format,
                           std::array<int, 2> size_wh) {
  const int w = size_wh[0], h = size_wh[1];
  require(format >= preprocess::kBgr8 && format <= preprocess::kYuyv, "preprocess: unknown format");
  require(w > 0 && h > 0 && w <= 65536 && h <= 65536, "preprocess: frame size");
  const i64 pixel_bytes = format <= preprocess::kRgb8 ? 3 : format == preprocess::kYuyv ? 2 : 1;
  const i64 most = i64(1) << 40;
  require(strides[0] >= w * pixel_bytes && strides[0] < most && strides[1] >= 0 && strides[1] < most,
          "preprocess: stride");
  require((i64)first.size() >= plane_bytes(h, w * pixel_bytes, strides[0]), "preprocess: plane too small");
  if (format == preprocess::kNv12)
    require(w % 2 == 0 && h % 2 == 0 && strides[1] >= w && (i64)second.size() >= plane_bytes(h / 2, w, strides[1]),
            "preprocess: chroma plane");
  if (format == preprocess::kYuyv) require(w % 2 == 0, "preprocess: odd width");
  return {{first.data(), second.data()}, {strides[0], strides[1]}, format, w, h};
}

preprocess::Params as_params(const Array<const double, 2>& inverse, std::array<int, 4> inner, int cubic,
                             int round_pixels, int replicate, int colour, float pad, std::array<float, 3> mean,
                             std::array<float, 3> std_, std::size_t channels, std::size_t height, std::size_t width) {
  require(inverse.shape(0) == 2 && inverse.shape(1) == 3, "preprocess: inverse must be (2, 3)");
  require(width > 0 && height > 0 && width <= 65536 && height <= 65536, "preprocess: output size");
  require(colour >= preprocess::kRgb && colour <= preprocess::kGray, "preprocess: unknown colour");
  preprocess::Params p{};
  for (int i = 0; i < 6; ++i) p.inverse[i] = inverse.data()[i];
  p.width = (int)width;
  p.height = (int)height;
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
  require((int)channels == preprocess::output_channels(p), "preprocess: channels of out");
  return p;
}

template <class Out>
void bind_run(Plane first, Plane second, std::array<i64, 2> strides, int format, std::array<int, 2> size_wh,
              Array<const double, 2> inverse, std::array<int, 4> inner, int cubic, int round_pixels, int replicate,
              int colour, float pad, std::array<float, 3> mean, std::array<float, 3> std_, Array<Out, 3> out) {
  const preprocess::Image image = as_image(first, second, strides, format, size_wh);
  const preprocess::Params p = as_params(inverse, inner, cubic, round_pixels, replicate, colour, pad, mean, std_,
                                         out.shape(0), out.shape(1), out.shape(2));
  const std::size_t table = (std::size_t)preprocess::kMaxTaps * p.width, wide = 3 * ((std::size_t)image.width + 2);
  const preprocess::Scratch memory{scratch<int>(table), scratch<float, 0>(table), scratch<float, 1>(wide),
                                   scratch<u8>(preprocess::kMaxTaps * wide)};
  Out* to = out.data();
  run([&](const auto& g) { preprocess::run(g, p, image, memory, to); });
}

}  // namespace

void bind_preprocess(nb::module_& m) {
  m.def("preprocess", &bind_run<float>);
  m.def("preprocess_half", &bind_run<unsigned short>);  // out: the bits of float16
}

}  // namespace jetpose
