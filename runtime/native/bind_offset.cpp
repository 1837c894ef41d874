#include "bind_launch.hpp"
#include "offset.cuh"

namespace jetpose {
namespace {

offset::Params parameters(std::size_t height, std::size_t width, int logits, float radius) {
  require(height > 0 && width > 0 && height <= (std::size_t)offset::kMaxPixels &&
              width <= (std::size_t)offset::kMaxPixels && height * width <= (std::size_t)offset::kMaxPixels,
          "offset: size of the maps");
  require(radius > 0, "offset: radius");
  return {(int)width, (int)height, logits, radius};
}

void decode(Array<const float, 3> heatmaps, Array<const float, 4> offsets, int logits, float radius,
            Array<float, 3> fused, Array<float, 2> out) {
  const std::size_t k = heatmaps.shape(0), h = heatmaps.shape(1), w = heatmaps.shape(2), n = h * w;
  require(k > 0, "offset: no maps");
  const offset::Params p = parameters(h, w, logits, radius);
  require(offsets.shape(0) == k && offsets.shape(1) == 2 && offsets.shape(2) == h && offsets.shape(3) == w,
          "offset: offsets must be (K, 2, H, W)");
  require(fused.shape(0) == k && fused.shape(1) == h && fused.shape(2) == w, "offset: fused must be (K, H, W)");
  require(out.shape(0) == k && out.shape(1) == 3, "offset: out must be (K, 3)");
  Scratch scratch;
  u64* votes = scratch.take<u64>(n);
  run([&](const auto& g) {
    for (std::size_t i = 0; i < k; ++i) {
      const offset::Peak peak =
          offset::decode(g, p, heatmaps.data() + i * n, offsets.data() + 2 * i * n, votes, fused.data() + i * n);
      if (g.rank() == 0) {
        out.data()[3 * i] = peak.x;
        out.data()[3 * i + 1] = peak.y;
        out.data()[3 * i + 2] = peak.score;
      }
      g.sync();
    }
  });
}

// heatmaps (K, H, W), offsets (2 K, H, W)
Plan plan(DeviceArray<3> heatmaps, DeviceArray<3> offsets, int logits, float radius, int block, std::uintptr_t base) {
  check_block(block);
  const float* heat = data_of(heatmaps, "heatmaps: wanted an address and a shape");
  const float* vectors = data_of(offsets, "offsets: wanted an address and a shape");
  const auto [k, h, w] = heatmaps.second;
  require(offsets.second[0] == 2 * (i64)k && offsets.second[1] == h && offsets.second[2] == w,
          "offset: offsets must be (2K, H, W)");
  const offset::Params p = parameters(h, w, logits, radius);
  const std::size_t n = (std::size_t)k * h * w;
  Arena arena(base);
  u64* votes = arena.take<u64>(n);
  float* fused = arena.take<float>(n);
  float* out = arena.take<float>(3 * (std::size_t)k);
  return finish_single(
      arena, out, {JP_LAUNCH(jetpose_offset, along_x(k), along_x(block), heat, vectors, p, votes, fused, out)});
}

}  // namespace

void bind_offset(nb::module_& m) {
  m.def("offset", &decode);
  m.def("plan_offset", &plan);
}

}  // namespace jetpose
