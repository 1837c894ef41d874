#include "bind_launch.hpp"
#include "window.cuh"

namespace jetpose {
namespace {

window::Params parameters(std::size_t height, std::size_t width, float stride) {
  require(width > 0 && height > 0, "window: empty maps");
  require(width < 1ull << 31 && height < 1ull << 31 && width * height < 1ull << 31, "window: maps too large");
  require(stride > 0, "window: stride");
  return {(int)width, (int)height, stride};
}

void decode(Array<const float, 4> fine, Array<const float, 3> corners, float stride, Array<float, 3> out) {
  const std::size_t n = fine.shape(0), k = fine.shape(1);
  const window::Params p = parameters(fine.shape(2), fine.shape(3), stride);
  require(corners.shape(0) == n && corners.shape(1) == k && corners.shape(2) == 2, "window: windows must be (N, K, 2)");
  require(out.shape(0) == n && out.shape(1) == k && out.shape(2) == 3, "window: out must be (N, K, 3)");
  const std::size_t size = (std::size_t)p.width * p.height;
  run([&](const auto& g) {
    for (std::size_t i = 0; i < n * k; ++i) {
      const heatmap::Point point = window::place(g, p, fine.data() + i * size, corners.data() + 2 * i);
      if (g.rank() == 0) {
        out.data()[3 * i] = point.x;
        out.data()[3 * i + 1] = point.y;
        out.data()[3 * i + 2] = point.score;
      }
      g.sync();
    }
  });
}

// fine (K, h, w), corners (2 K,)
Plan plan(DeviceArray<3> fine, DeviceArray<1> corners, float stride, int block, std::uintptr_t base) {
  check_block(block);
  const float* maps = data_of(fine, "fine: wanted an address and a shape");
  const float* from = data_of(corners, "windows: wanted an address and a shape");
  const auto [k, h, w] = fine.second;
  require(corners.second[0] == 2 * (i64)k, "window: windows must be (2K,)");
  const window::Params p = parameters(h, w, stride);
  Arena arena(base);
  float* out = arena.take<float>(3 * (std::size_t)k);
  return finish_single(arena, out, {JP_LAUNCH(jetpose_window, along_x(k), along_x(block), maps, from, p, out)});
}

}  // namespace

void bind_window(nb::module_& m) {
  m.def("window", &decode);
  m.def("plan_window", &plan);
}

}  // namespace jetpose
