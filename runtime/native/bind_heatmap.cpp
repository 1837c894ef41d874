#include "bind.hpp"
#include "heatmap.cuh"

namespace jetpose {
namespace {

using Weights = std::vector<float>;

void copy_weights(const Array<const float, 1>& from, float* to, int& taps) {
  taps = (int)from.shape(0);
  require(taps <= heatmap::kMaxKernel, "blur kernel: more than 65 taps");
  for (int i = 0; i < taps; ++i) to[i] = from.data()[i];
}

void decode(Array<const float, 4> maps, Array<float, 3> out, int refine, float beta, Array<const float, 1> blur,
            Array<const float, 1> kernel) {
  const std::size_t n = maps.shape(0), k = maps.shape(1);
  require(out.shape(0) == n && out.shape(1) == k && out.shape(2) == 3, "heatmap: out must be (N, K, 3)");
  heatmap::Params p{};
  p.height = (int)maps.shape(2);
  p.width = (int)maps.shape(3);
  p.refine = refine;
  p.beta = beta;
  copy_weights(blur, p.blur, p.blur_taps);
  copy_weights(kernel, p.kernel, p.kernel_taps);
  require(p.width > 0 && p.height > 0, "heatmap: empty maps");
  require((i64)p.width * p.height < 1ll << 31, "heatmap: maps too large");
  float* memory = scratch<float>(heatmap::scratch_size(p));
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

}  // namespace

void bind_heatmap(nb::module_& m) { m.def("heatmap", &decode); }

}  // namespace jetpose
