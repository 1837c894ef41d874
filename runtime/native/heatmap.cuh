// One keypoint from one heatmap: argmax and a sub-pixel refinement.
//
//   none          the argmax itself
//   quarter       +-0.25 towards the higher neighbour, sign(0) = 0, only where 1 < x < W-1 and 1 < y < H-1
//                 (SimpleBaseline, HRNet)
//   quarter_axis  the same, each axis by itself: x where 1 < x < W-1 and 0 < y, y likewise (MMPose 1.x)
//   quarter_low   +-0.25 always, a tie moves down, neighbours clamped to the map (stacked hourglass in PyTorch,
//                 associative embedding); their +0.5 belongs to the grid, not to the refinement
//   second_max    0.25 towards the second-highest pixel (Newell et al. 2016; DARK eq. 8)
//   dark          Taylor step on the log of the blurred map (Zhang et al. 2020, arXiv 1910.06278)
//   udp           as dark, reflect-101 blur, first-order second differences, everywhere (Huang et al. 2020)
//   soft_argmax   expectation of the position under softmax(beta * map)
#pragma once
#include "group.cuh"

namespace jetpose {
namespace heatmap {

enum Refine { kNone, kQuarter, kQuarterAxis, kQuarterLow, kSecondMax, kDark, kUdp, kSoftArgmax };

constexpr int kMaxKernel = 65;  // taps of the blur: DARK uses 11 or 17, a Gaussian of sigma 8 needs 65

struct Params {
  int width, height;
  int refine;
  int blur_taps;             // blur before the argmax (reflect border); 0: none
  int kernel_taps;           // blur of dark and udp
  float beta;                // soft_argmax
  float blur[kMaxKernel];    // weights, normalised
  float kernel[kMaxKernel];  // weights, normalised
};

struct Point {
  float x, y, score;
};

// ---- borders ------------------------------------------------------------------------------------------------
// Where a tap outside [0, n) reads from; -1: nothing (zero).
JP_FN int zero_border(int i, int n) { return i < 0 || i >= n ? -1 : i; }
JP_FN int reflect_border(int i, int n) {  // edge pixel repeated: c b a | a b c
  const int period = 2 * n;
  i = ((i % period) + period) % period;
  return i < n ? i : period - 1 - i;
}
JP_FN int reflect101_border(int i, int n) {  // edge pixel not repeated: c b | a b c
  if (n == 1) return 0;
  const int period = 2 * n - 2;
  i = ((i % period) + period) % period;
  return i < n ? i : period - i;
}

enum Border { kZero, kReflect, kReflect101 };
template <int border>
JP_FN int border_index(int i, int n) {
  return border == kZero ? zero_border(i, n) : border == kReflect ? reflect_border(i, n) : reflect101_border(i, n);
}

// One value of the map blurred by the separable kernel, rows first.
template <int border>
JP_FN float blurred(const float* map, int w, int h, const float* kernel, int taps, int x, int y) {
  const int half = taps / 2;
  float sum = 0;
  for (int j = 0; j < taps; ++j) {
    const int yy = border_index<border>(y + j - half, h);
    if (yy < 0) continue;
    const float* row = map + (i64)yy * w;
    float line = 0;
    if (x >= half && x + half < w) {
      for (int i = 0; i < taps; ++i) line += kernel[i] * row[x + i - half];
    } else {
      for (int i = 0; i < taps; ++i) {
        const int xx = border_index<border>(x + i - half, w);
        if (xx >= 0) line += kernel[i] * row[xx];
      }
    }
    sum += kernel[j] * line;
  }
  return sum;
}

template <int border>
JP_FN void add_border(const float* row, int w, float weight, int x, int shift, float* to) {
  const int from = border_index<border>(x + shift, w);
  if (from >= 0) to[x] += weight * row[from];
}

// Blurs the whole map into out; temp and out hold width * height values. Every lane returns after the map is whole.
template <int border, class Group>
JP_FN void blur_map(const Group& g, const float* map, int w, int h, const float* kernel, int taps, float* temp,
                    float* out) {
  const int half = taps / 2;
  for (int y = g.rank(); y < h; y += g.size()) {  // along x
    const float* row = map + (i64)y * w;
    float* to = temp + (i64)y * w;
    for (int x = 0; x < w; ++x) to[x] = 0;
    for (int i = 0; i < taps; ++i) {
      const int shift = i - half;
      const int first = clampi(-shift, 0, w), last = clampi(w - shift, first, w);
      for (int x = first; x < last; ++x) to[x] += kernel[i] * row[x + shift];
      for (int x = 0; x < first; ++x) add_border<border>(row, w, kernel[i], x, shift, to);
      for (int x = last; x < w; ++x) add_border<border>(row, w, kernel[i], x, shift, to);
    }
  }
  g.sync();
  for (int y = g.rank(); y < h; y += g.size()) {  // along y
    float* to = out + (i64)y * w;
    for (int x = 0; x < w; ++x) to[x] = 0;
    for (int j = 0; j < taps; ++j) {
      const int from = border_index<border>(y + j - half, h);
      if (from < 0) continue;
      const float* row = temp + (i64)from * w;
      for (int x = 0; x < w; ++x) to[x] += kernel[j] * row[x];
    }
  }
  g.sync();
}

// ---- refinements: each takes the argmax (x, y) and returns the refined place ---------------------------------

JP_FN float sign(float v) { return v > 0 ? 1.0f : v < 0 ? -1.0f : 0.0f; }

JP_FN Point quarter(const float* m, int w, int h, int x, int y, float score) {
  Point p{(float)x, (float)y, score};
  if (1 < x && x < w - 1 && 1 < y && y < h - 1) {
    const float* c = m + (i64)y * w + x;
    p.x += 0.25f * sign(c[1] - c[-1]);
    p.y += 0.25f * sign(c[w] - c[-w]);
  }
  return p;
}

JP_FN Point quarter_axis(const float* m, int w, int h, int x, int y, float score) {
  Point p{(float)x, (float)y, score};
  const float* c = m + (i64)y * w + x;
  if (1 < x && x < w - 1 && 0 < y) p.x += 0.25f * sign(c[1] - c[-1]);
  if (1 < y && y < h - 1 && 0 < x) p.y += 0.25f * sign(c[w] - c[-w]);
  return p;
}

JP_FN Point quarter_low(const float* m, int w, int h, int x, int y, float score) {
  const float* row = m + (i64)y * w;
  const float right = row[x + 1 < w ? x + 1 : x], left = row[x > 0 ? x - 1 : x];
  const float below = m[(i64)(y + 1 < h ? y + 1 : y) * w + x], above = m[(i64)(y > 0 ? y - 1 : y) * w + x];
  return {x + (right > left ? 0.25f : -0.25f), y + (below > above ? 0.25f : -0.25f), score};
}

// The second-highest pixel is the first one in row-major order that is highest once the argmax is left out.
template <class Group>
JP_FN Point second_max(const Group& g, const float* m, int w, int h, int x, int y, float score) {
  const int at = y * w + x, n = w * h;
  const Peak low = argmax(g, m, at), high = argmax(g, m + at + 1, n - at - 1);
  const bool from_low = at > 0 && low.value >= high.value;
  if (n < 2 || !finite(from_low ? low.value : high.value)) return {(float)x, (float)y, score};
  const int second = from_low ? low.index : at + 1 + high.index;
  const float dx = (float)(second % w - x), dy = (float)(second / w - y);
  const float norm = sqrtf(dx * dx + dy * dy);
  return {x + 0.25f * dx / norm, y + 0.25f * dy / norm, score};
}

// Newton step from the derivatives of the log-map; a singular or non-finite Hessian leaves the point in place.
JP_FN Point newton(int x, int y, float score, float dx, float dy, float dxx, float dyy, float dxy) {
  const float det = dxx * dyy - dxy * dxy;
  Point p{(float)x, (float)y, score};
  if (det == 0 || !finite(det)) return p;
  const float step_x = -(dyy * dx - dxy * dy) / det, step_y = -(dxx * dy - dxy * dx) / det;
  if (finite(step_x) && finite(step_y)) {
    p.x += step_x;
    p.y += step_y;
  }
  return p;
}

// The authors blur the whole map, rescale it to the old maximum, clamp at 1e-10 and take the log. The scale is a
// constant under the log and cancels in every derivative, so only 13 blurred values are needed, unless one of them
// is so small that the clamp acts; then the whole map is blurred for its maximum.
template <class Group>
JP_FN Point dark(const Group& g, const Params& p, const float* m, int x, int y, float score, float* scratch) {
  const int w = p.width, h = p.height;
  if (!(1 < x && x < w - 2 && 1 < y && y < h - 2)) return {(float)x, (float)y, score};
  constexpr float kFloor = 1e-10f;
  const int at_x[13] = {0, 1, -1, 2, -2, 0, 0, 0, 0, 1, 1, -1, -1};
  const int at_y[13] = {0, 0, 0, 0, 0, 1, -1, 2, -2, 1, -1, 1, -1};
  float v[13];
  float lowest = 1;
  for (int i = 0; i < 13; ++i) {
    v[i] = blurred<kZero>(m, w, h, p.kernel, p.kernel_taps, x + at_x[i], y + at_y[i]);
    if (v[i] < lowest) lowest = v[i];
  }
  float scale = 1;
  if (lowest < kFloor) {  // the same for every lane
    const int n = w * h;
    blur_map<kZero>(g, m, w, h, p.kernel, p.kernel_taps, scratch, scratch + n);
    const float highest = argmax(g, scratch + n, n).value;
    if (highest != 0) scale = score / highest;  // a map that is negative once blurred changes its sign, as theirs does
  }
  for (int i = 0; i < 13; ++i) {
    const float s = v[i] * scale;
    v[i] = logf(s > kFloor ? s : kFloor);
  }
  return newton(x, y, score, 0.5f * (v[1] - v[2]), 0.5f * (v[5] - v[6]), 0.25f * (v[3] - 2 * v[0] + v[4]),
                0.25f * (v[7] - 2 * v[0] + v[8]), 0.25f * (v[9] - v[11] - v[10] + v[12]));
}

// Reflect-101 blur, clip to [0.001, 50], log, edge-pad by one pixel; second differences with step 1. The authors
// add machine epsilon to the Hessian's diagonal.
JP_FN Point udp(const Params& p, const float* m, int x, int y, float score) {
  const int w = p.width, h = p.height;
  float v[3][3];
  for (int j = -1; j <= 1; ++j)
    for (int i = -1; i <= 1; ++i) {
      const float b = blurred<kReflect101>(m, w, h, p.kernel, p.kernel_taps, clampi(x + i, 0, w - 1),
                                           clampi(y + j, 0, h - 1));
      v[j + 1][i + 1] = logf(b < 0.001f ? 0.001f : b > 50.0f ? 50.0f : b);
    }
  const float c = v[1][1], l = v[1][0], r = v[1][2], u = v[0][1], d = v[2][1];
  const float dx = 0.5f * (r - l), dy = 0.5f * (d - u);
  const float epsilon = 1.1920929e-07f;
  const float dxx = r - 2 * c + l + epsilon, dyy = d - 2 * c + u + epsilon;
  const float dxy = 0.5f * (v[2][2] - r - d + 2 * c - l - u + v[0][0]);
  return newton(x, y, score, dx, dy, dxx, dyy, dxy);
}

// Weights exp(beta * (m - max)); row sums are formed by one lane each and added in row order by every lane, so the
// result does not depend on the number of lanes. scratch holds 2 * height values.
template <class Group>
JP_FN Point soft_argmax(const Group& g, const Params& p, const float* m, float highest, float* scratch) {
  const int w = p.width, h = p.height;
  for (int y = g.rank(); y < h; y += g.size()) {
    const float* row = m + (i64)y * w;
    float sum = 0, sum_x = 0;
    for (int x = 0; x < w; ++x) {
      const float e = row[x] == row[x] ? expf(p.beta * (row[x] - highest)) : 0.0f;
      sum += e;
      sum_x += e * x;
    }
    scratch[2 * y] = sum;
    scratch[2 * y + 1] = sum_x;
  }
  g.sync();
  double sum = 0, sum_x = 0, sum_y = 0;
  for (int y = 0; y < h; ++y) {
    sum += scratch[2 * y];
    sum_x += scratch[2 * y + 1];
    sum_y += (double)scratch[2 * y] * y;
  }
  g.sync();
  return {(float)(sum_x / sum), (float)(sum_y / sum), highest};
}

// Values of scratch that decode() needs.
JP_FN i64 scratch_size(const Params& p) {
  return 4 * (i64)p.width * p.height + 2 * (i64)p.height;  // two blurs of two maps each, or the row sums
}

// Keypoint of one map, in map pixels. No finite positive maximum: score 0, x = y = NaN.
// The score is the value of the map as given (before any blur) at the argmax.
template <class Group>
JP_FN Point decode(const Group& g, const Params& p, const float* map, float* scratch) {
  const int w = p.width, h = p.height, n = w * h;
  const float* searched = map;
  if (p.blur_taps > 0) {
    blur_map<kReflect>(g, map, w, h, p.blur, p.blur_taps, scratch, scratch + n);
    searched = scratch + n;
    scratch += 2 * (i64)n;
  }
  const Peak peak = argmax(g, searched, n);
  const float score = map[peak.index];
  if (!(peak.value > 0) || !finite(peak.value) || !(score > 0) || !finite(score)) {
    const float nan = negative_infinity() - negative_infinity();
    return {nan, nan, 0};
  }
  const int x = peak.index % w, y = peak.index / w;
  switch (p.refine) {
    case kQuarter: return quarter(searched, w, h, x, y, score);
    case kQuarterAxis: return quarter_axis(searched, w, h, x, y, score);
    case kQuarterLow: return quarter_low(searched, w, h, x, y, score);
    case kSecondMax: return second_max(g, searched, w, h, x, y, score);
    case kDark: return dark(g, p, map, x, y, score, scratch);
    case kUdp: return udp(p, map, x, y, score);
    case kSoftArgmax: return soft_argmax(g, p, map, score, scratch);
    default: return {(float)x, (float)y, score};
  }
}

}  // namespace heatmap
}  // namespace jetpose
