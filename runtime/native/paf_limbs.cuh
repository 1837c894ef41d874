// Connections of one limb: the line integral of the field between every peak of part a and every peak of part b
// (Cao et al. 2017, arXiv 1611.08050, eq. 10), then a one-to-one choice: greedy by score, or the optimal assignment
// for trt_pose.
#pragma once
#include "paf_assign.cuh"
#include "paf_types.cuh"

namespace jetpose {
namespace paf {

struct Field {
  const float *x, *y;  // channels (height, width), cells
};

// The t-th of the points along a limb, a decoded pixel; each profile's own arithmetic decides ties.
template <int profile>
JP_FN int line_point(float a, float b, int t, int samples, int size) {
  float v;
  if (profile == kTfPose) {  // the end point is left out
    const float step = (b - a) / (float)samples;
    v = (float)(int)((double)(a + (float)t * step) + 0.5);
  } else {
    const float step = (1.0f / (float)(samples - 1)) * (b - a);
    v = rintf((float)t * step + a);
  }
  return clampi((int)v, 0, size - 1);
}

// Score of one pair, or a value <= 0 where it is no limb. Both ends of the line are looked at last: a wrong pair shows
// in the middle, and more than samples - min_hits misses end the search.
template <int profile>
JP_FN float pair_score(const Params& p, const Sampling& s, const Field& field, const float* a, const float* b) {
  const float dx = b[0] - a[0], dy = b[1] - a[1];
  float length = sqrtf(dx * dx + dy * dy);
  if (profile == kTfPose && !(length > 0)) return 0;
  if (profile == kLightweight) length += 1e-6f;
  if (profile == kOpenPose) length = length > 0.001f ? length : 0.001f;
  const float ux = dx / length, uy = dy / length;
  float dots[kMaxSamples];
  int misses = 0;
  for (int k = 0; k < p.samples; ++k) {
    const int half = p.samples / 2, t = k % 2 ? half - 1 - k / 2 : half + k / 2;  // half, half - 1, half + 1, ...
    const int x = line_point<profile>(a[0], b[0], t, p.samples, p.width);
    const int y = line_point<profile>(a[1], b[1], t, p.samples, p.height);
    dots[t] = sample(field.x, s.width, s.x, s.y, x, y) * ux + sample(field.y, s.width, s.x, s.y, x, y) * uy;
    if (!(dots[t] > p.limb_threshold) && ++misses > p.samples - p.min_hits) return 0;
  }
  float sum = 0;
  for (int t = 0; t < p.samples; ++t)
    if (profile != kLightweight || dots[t] > p.limb_threshold) sum += dots[t];
  float score;
  if (profile == kLightweight) {
    score = (float)((double)sum / ((double)(p.samples - misses) + 1e-6));
  } else {  // limbs longer than half the map's height are held against the pair
    const float prior = 0.5f * (float)p.height / length - 1.0f;
    score = sum / (float)p.samples + (prior < 0 ? prior : 0.0f);
  }
  return finite(score) ? score : 0.0f;
}

template <int profile, class Group>
JP_FN int score_pairs(const Group& g, const Params& p, const Sampling& s, const Field& field, const float* a,
                      const float* b, int na, int nb, u64* keys) {
  int count = 0;
  int ia = 0, ib = g.rank();  // pair i, without a division for each
  for (int base = 0; base < na * nb; base += g.size(), ib += g.size()) {
    for (; ib >= nb; ib -= nb) ++ia;
    const int i = base + g.rank();
    const float score = ia < na ? pair_score<profile>(p, s, field, a + 3 * ia, b + 3 * ib) : 0.0f;
    int total;
    const int at = count + g.scan(score > 0, total);
    if (score > 0) keys[at] = score_key(score, (u32)i);
    count += total;
  }
  g.sync();
  return count;
}

// Best pairs first, each peak once. used holds na + nb values. One lane.
JP_FN int take_greedily(const u64* keys, int count, int na, int nb, u8* used, int* pairs, float* scores) {
  for (int i = 0; i < na + nb; ++i) used[i] = 0;
  int taken = 0;
  for (int i = 0; i < count; ++i) {
    const int a = (int)key_position(keys[i]) / nb, b = (int)key_position(keys[i]) % nb;
    if (used[a] || used[na + b]) continue;
    used[a] = used[na + b] = 1;
    pairs[2 * taken] = a;
    pairs[2 * taken + 1] = b;
    scores[taken++] = key_score(keys[i]);
  }
  return taken;
}

// ---- trt_pose -----------------------------------------------------------------------------------------------

// Mean of the field's component along the line; points outside the map add nothing.
JP_FN float line_mean(const Params& p, const Field& field, const float* progress, const float* a, const float* b) {
  const float dx = b[0] - a[0], dy = b[1] - a[1];
  const float length = sqrtf(dy * dy + dx * dx) + 1e-5f;
  const float ux = dx / length, uy = dy / length;
  float sum = 0;
  for (int t = 0; t < p.samples; ++t) {
    const float x = a[0] + progress[t] * dx, y = a[1] + progress[t] * dy;
    if (!(x > -1 && y > -1 && x < (float)p.width && y < (float)p.height)) continue;
    const i64 at = (i64)(int)y * p.width + (int)x;
    sum += uy * field.y[at] + ux * field.x[at];
  }
  const float mean = sum / (float)p.samples;
  return finite(mean) ? mean : 0.0f;
}

struct LimbMemory {
  u64 *keys, *spare;  // max_peaks^2 each (not trt_pose)
  u8* used;           // 2 * max_peaks
  float* graph;       // (M, M) scores (trt_pose)
  Assignment assignment;
};

// Memory of several limbs, one after another: that of one limb.
struct LimbArrays {
  u64 *keys, *spare;  // (limbs, M, M) each (not trt_pose)
  float* floats;      // (limbs, M * M + 3 * M) (trt_pose)
  int* ints;          // (limbs, 3 * M) (trt_pose)
  u8* marks;          // (limbs, 3 * M)
};
JP_FN LimbMemory memory_of_limb(const LimbArrays& arrays, i64 m, i64 limb) {
  float* graph = arrays.floats + limb * (m * m + 3 * m);
  float* prices = graph + m * m;
  int* columns = arrays.ints + limb * 3 * m;
  u8* marks = arrays.marks + limb * 3 * m;
  return {arrays.keys + limb * m * m, arrays.spare + limb * m * m, marks, graph,
          {prices, prices + m, prices + 2 * m, columns, columns + m, columns + 2 * m, marks + 2 * m}};
}

template <class Group>
JP_FN void connect_optimally(const Group& g, const Params& p, const Field& field, const float* a, const float* b,
                             int na, int nb, const LimbMemory& memory, int* pairs, float* scores, int* total) {
  float progress[kMaxSamples];
  for (int t = 0; t < p.samples; ++t) progress[t] = (float)t / (float)(p.samples - 1);
  for (int i = g.rank(), ia = 0, ib = i; i < na * nb; i += g.size(), ib += g.size()) {
    for (; ib >= nb; ib -= nb) ++ia;
    memory.graph[(i64)ia * p.max_peaks + ib] = line_mean(p, field, progress, a + 3 * ia, b + 3 * ib);
  }
  g.sync();
  const bool turned = na > nb;
  assign(g, memory.graph, turned ? 1 : p.max_peaks, turned ? p.max_peaks : 1, turned ? nb : na, turned ? na : nb,
         memory.assignment);
  if (g.rank() == 0) {
    int taken = 0;
    for (int i = 0; i < na; ++i) {
      const int j = turned ? memory.assignment.row_of[i] : memory.assignment.column_of[i];
      if (j < 0 || !(memory.graph[(i64)i * p.max_peaks + j] > p.limb_threshold)) continue;
      pairs[2 * taken] = i;
      pairs[2 * taken + 1] = j;
      scores[taken++] = memory.graph[(i64)i * p.max_peaks + j];
    }
    *total = taken;
  }
  g.sync();
}

template <class Group>
JP_FN void connect(const Group& g, const Params& p, const Sampling& s, const float* pafs, const Limb& limb, int index,
                   const Peaks& peaks, const LimbMemory& memory, const Connections& out) {
  const i64 cells = (i64)s.width * s.height;
  const Field field{pafs + limb.x * cells, pafs + limb.y * cells};
  const int na = peaks.counts[limb.a], nb = peaks.counts[limb.b];
  const float *a = peaks.points + (i64)limb.a * p.max_peaks * 3, *b = peaks.points + (i64)limb.b * p.max_peaks * 3;
  int* pairs = out.pairs + (i64)index * p.max_peaks * 2;
  float* scores = out.scores + (i64)index * p.max_peaks;
  if (p.profile == kTrtPose) {
    connect_optimally(g, p, field, a, b, na, nb, memory, pairs, scores, out.counts + index);
    return;
  }
  int count = 0;
  switch (p.profile) {
    case kLightweight: count = score_pairs<kLightweight>(g, p, s, field, a, b, na, nb, memory.keys); break;
    case kOpenPose: count = score_pairs<kOpenPose>(g, p, s, field, a, b, na, nb, memory.keys); break;
    default: count = score_pairs<kTfPose>(g, p, s, field, a, b, na, nb, memory.keys);
  }
  sort_descending(g, memory.keys, memory.spare, count);
  if (g.rank() == 0) out.counts[index] = take_greedily(memory.keys, count, na, nb, memory.used, pairs, scores);
  g.sync();
}

}  // namespace paf
}  // namespace jetpose
