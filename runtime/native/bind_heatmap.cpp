#include "bind_launch.hpp"
#include "heatmap.cuh"

namespace jetpose {
namespace {

void copy_weights(const Array<const float, 1>& from, float* to, int& taps) {
  taps = (int)from.shape(0);
  require(taps <= heatmap::kMaxKernel, "blur kernel: more than 65 taps");
  for (int i = 0; i < taps; ++i) to[i] = from.data()[i];
}

// Without the maps' size.
heatmap::Params make_params(int refine, float beta, Array<const float, 1> blur, Array<const float, 1> kernel) {
  heatmap::Params p{};
  p.refine = refine;
  p.beta = beta;
  copy_weights(blur, p.blur, p.blur_taps);
  copy_weights(kernel, p.kernel, p.kernel_taps);
  return p;
}

void set_size(heatmap::Params& p, std::size_t height, std::size_t width) {
  require(width > 0 && height > 0, "heatmap: empty maps");
  require(width < 1ull << 31 && height < 1ull << 31 && width * height < 1ull << 31, "heatmap: maps too large");
  p.height = (int)height;
  p.width = (int)width;
}

template <class Memory>
float* work_memory(Memory& memory, const heatmap::Params& p, std::size_t maps) {
  return memory.template take<float>(heatmap::scratch_size(p) * maps);
}

void decode(heatmap::Params p, Array<const float, 4> maps, Array<float, 3> out) {
  const std::size_t n = maps.shape(0), k = maps.shape(1);
  require(out.shape(0) == n && out.shape(1) == k && out.shape(2) == 3, "heatmap: out must be (N, K, 3)");
  set_size(p, maps.shape(2), maps.shape(3));
  Scratch scratch;
  float* memory = work_memory(scratch, p, 1);
  const std::size_t stride = (std::size_t)p.width * p.height;
  const float* from = maps.data();
  float* to = out.data();
  run([&](const auto& g) {
    for (std::size_t i = 0; i < n * k; ++i) {
      const heatmap::Point point = heatmap::decode(g, p, from + i * stride, memory);
      if (g.rank() == 0) {
        to[3 * i] = point.x;
        to[3 * i + 1] = point.y;
        to[3 * i + 2] = point.score;
      }
      g.sync();
    }
  });
}

// maps (K, H, W)
Plan plan(heatmap::Params p, DeviceArray<3> maps, int block, std::uintptr_t base) {
  check_block(block);
  const float* from = data_of(maps, "heatmaps: wanted an address and a shape");
  const int joints = maps.second[0];
  set_size(p, maps.second[1], maps.second[2]);
  Arena arena(base);
  float* scratch = work_memory(arena, p, joints);
  float* out = arena.take<float>(3 * (std::size_t)joints);
  return finish_single(arena, out, {JP_LAUNCH(jetpose_heatmap, along_x(joints), along_x(block), from, p, scratch, out)});
}

}  // namespace

void bind_heatmap(nb::module_& m) {
  nb::class_<heatmap::Params>(m, "HeatmapParams");
  m.def("heatmap_params", &make_params);
  m.def("heatmap", &decode);
  m.def("plan_heatmap", &plan);
}

}  // namespace jetpose
