#include "bind_launch.hpp"
#include "simcc.cuh"

namespace jetpose {
namespace {

void decode(Array<const float, 3> xs, Array<const float, 3> ys, float split, Array<float, 3> out) {
  const std::size_t n = xs.shape(0), k = xs.shape(1), width = xs.shape(2), height = ys.shape(2);
  require(ys.shape(0) == n && ys.shape(1) == k, "simcc: y must be (N, K, Wy)");
  require(width > 0 && height > 0 && width < (1u << 24) && height < (1u << 24), "simcc: number of bins");
  require(split > 0, "simcc: split ratio");
  require(out.shape(0) == n && out.shape(1) == k && out.shape(2) == 3, "simcc: out must be (N, K, 3)");
  run([&](const auto& g) {
    for (std::size_t i = 0; i < n * k; ++i) {
      const simcc::Point point =
          simcc::decode(g, xs.data() + i * width, (int)width, ys.data() + i * height, (int)height, split);
      if (g.rank() == 0) {
        out.data()[3 * i] = point.x;
        out.data()[3 * i + 1] = point.y;
        out.data()[3 * i + 2] = point.score;
      }
      g.sync();
    }
  });
}

// x (K, Wx), y (K, Wy)
Plan plan(DeviceArray<2> xs, DeviceArray<2> ys, float split, int block, std::uintptr_t base) {
  check_block(block);
  const float* x = data_of(xs, "simcc: wanted an address and a shape");
  const float* y = data_of(ys, "simcc: wanted an address and a shape");
  const int joints = xs.second[0];
  require(ys.second[0] == joints, "simcc: wanted x and y of as many joints");
  require(split > 0, "simcc: split ratio");
  Arena arena(base);
  float* out = arena.take<float>(3 * (std::size_t)joints);
  return finish_single(arena, out,
                       {JP_LAUNCH(jetpose_simcc, along_x(joints), along_x(block), x, xs.second[1], y, ys.second[1],
                                  split, out)});
}

}  // namespace

void bind_simcc(nb::module_& m) {
  m.def("simcc", &decode);
  m.def("plan_simcc", &plan);
}

}  // namespace jetpose
