#include "bind.hpp"
#include "offset.cuh"

namespace jetpose {
namespace {

void decode(Array<const float, 3> heatmaps, Array<const float, 4> offsets, int logits, float radius,
            Array<float, 3> fused, Array<float, 2> out) {
  const std::size_t k = heatmaps.shape(0), h = heatmaps.shape(1), w = heatmaps.shape(2), n = h * w;
  require(k > 0 && h > 0 && w > 0 && n <= (std::size_t)offset::kMaxPixels, "offset: size of the maps");
  require(offsets.shape(0) == k && offsets.shape(1) == 2 && offsets.shape(2) == h && offsets.shape(3) == w,
          "offset: offsets must be (K, 2, H, W)");
  require(fused.shape(0) == k && fused.shape(1) == h && fused.shape(2) == w, "offset: fused must be (K, H, W)");
  require(out.shape(0) == k && out.shape(1) == 3, "offset: out must be (K, 3)");
  require(radius > 0, "offset: radius");
  const offset::Params p{(int)w, (int)h, logits, radius};
  u64* votes = scratch<u64>(n);
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

}  // namespace

void bind_offset(nb::module_& m) { m.def("offset", &decode); }

}  // namespace jetpose
