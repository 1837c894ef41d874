// Hough voting of G-RMI (Papandreou et al. 2017, arXiv 1701.01779, eq. 1): every pixel of a joint's heatmap votes,
// with its probability, for the place that its offset points at.
//
//   f(p) = 1 / (pi R^2) * sum over pixels q of h(q) * G(q + F(q) - p),   G the bilinear kernel
//
// A vote scatters, and votes of several lanes meet. They are summed as integers of 2^-40, so that no order of adding,
// and no number of lanes, changes a bit; a map of 2^22 pixels that all vote 1 for one place still fits.
#pragma once
#include "group.cuh"

namespace jetpose {
namespace offset {

struct Params {
  int width, height;
  int logits;    // the maps hold logits; the probability is their sigmoid
  float radius;  // of the disk that the heatmap was trained with, map pixels
};

constexpr i64 kMaxPixels = 1 << 22;
constexpr float kOne = 1099511627776.0f;  // 2^40

struct Peak {
  float x, y, score;
};

template <class Group>
JP_FN void add(const Group&, u64* to, u64 votes) {
  if constexpr (Group::serial) {
    *to += votes;
  } else {
#ifdef __CUDA_ARCH__
    atomicAdd(to, votes);
#elif defined(__GNUC__)
    __atomic_fetch_add(to, votes, __ATOMIC_RELAXED);
#endif
  }
}

// A heatmap value as a probability; NaN is 0.
JP_FN float probability(float v, int logits) {
  if (logits) v = 1.0f / (1.0f + expf(-v));
  return v > 0.0f ? (v < 1.0f ? v : 1.0f) : 0.0f;
}

// One vote of weight h from pixel (x, y). The offset is split before the pixel is added: their sum would lose bits.
template <class Group>
JP_FN void vote(const Group& g, const Params& p, float h, int x, int y, float dx, float dy, u64* votes) {
  const int w = p.width, height = p.height;
  const float far = (float)kMaxPixels;
  if (!(dx > -far && dx < far && dy > -far && dy < far)) return;  // off any map, or NaN
  const float whole_x = floorf(dx), whole_y = floorf(dy);
  const int left = x + (int)whole_x, top = y + (int)whole_y;
  const float fx = dx - whole_x, fy = dy - whole_y;
  const float weight[2][2] = {{(1.0f - fy) * (1.0f - fx), (1.0f - fy) * fx}, {fy * (1.0f - fx), fy * fx}};
  for (int j = 0; j < 2; ++j)
    for (int i = 0; i < 2; ++i) {
      const int xx = left + i, yy = top + j;
      // through i64: x86 has no instruction for unsigned numbers
      const u64 share = (u64)(i64)(h * weight[j][i] * kOne);
      if (share > 0 && xx >= 0 && xx < w && yy >= 0 && yy < height) add(g, votes + (i64)yy * w + xx, share);
    }
}

// Fuses one joint's heatmap (H, W) and offsets (2, H, W; x, y, map pixels) into fused (H, W) and finds its peak: first
// position of the highest value. Nothing voted for: score 0, x = y = NaN. votes: width * height values of scratch.
template <class Group>
JP_FN Peak decode(const Group& g, const Params& p, const float* heat, const float* offsets, u64* votes, float* fused) {
  const int n = p.width * p.height;
  for (int i = g.rank(); i < n; i += g.size()) votes[i] = 0;
  g.sync();
  for (int i = g.rank(); i < n; i += g.size()) {
    const float h = probability(heat[i], p.logits);
    if (h > 0.0f) vote(g, p, h, i % p.width, i / p.width, offsets[i], offsets[n + i], votes);
  }
  g.sync();
  const double area = 3.14159265358979323846 * (double)p.radius * (double)p.radius * (double)kOne;
  for (int i = g.rank(); i < n; i += g.size()) fused[i] = (float)((double)(i64)votes[i] / area);
  g.sync();
  const jetpose::Peak peak = argmax(g, fused, n);
  if (!(peak.value > 0.0f)) {
    const float nan = negative_infinity() - negative_infinity();
    return {nan, nan, 0.0f};
  }
  return {(float)(peak.index % p.width), (float)(peak.index / p.width), peak.value};
}

}  // namespace offset
}  // namespace jetpose
