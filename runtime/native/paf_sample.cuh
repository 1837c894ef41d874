// Network maps seen through a separable linear operator: enlarging, cropping, resizing and smoothing in one.
//
// Every profile enlarges its maps, some crop and resize them again, some smooth them. Each of these steps is linear and
// separable, so their product is too: a decoded pixel is sum_r sum_c y[r] x[c] map[r][c] over a few cells. The weights
// of each axis are made once (float64, decode/_paf_tables.py); nothing is enlarged as a whole.
#pragma once
#include "group.cuh"

namespace jetpose {
namespace paf {

constexpr int kTile = 32;          // decoded pixels along a tile's side, with
constexpr int kCore = kTile - 2;   // one pixel of halo on each side; pixels outside the map are 0

// Weights of one axis: decoded pixel i reads cells first[i] .. first[i] + taps - 1, which all lie on the map.
// first never decreases.
struct Axis {
  const int* first;      // (size)
  const float* weights;  // (size, taps)
  int taps, size;
};

// The same weights for whole tiles along x: tile b holds pixels b * kCore - 1 .. b * kCore + kCore and reads cells
// first[b] .. first[b] + span - 1. Dense, so that a CPU needs no gathers.
struct Blocks {
  const int* first;      // (count)
  const float* weights;  // (count, span, kTile)
  int span, count;
};

struct Sampling {
  int width, height;  // of the network's maps, cells
  Axis x, y;          // values: scores of peaks, part affinity fields
  Axis search_y;      // what peaks are searched in
  Blocks search_x;
  // No searched pixel exceeds rise * max(highest cell, 0) + fall * max(-lowest cell, 0): the sums of the positive and
  // of the negative weight products.
  float rise, fall;
};

JP_FN float finite_or_0(float v) { return finite(v) ? v : 0.0f; }

// Along y first: a CPU then works on all columns of a few cells at once.
template <int taps>
JP_FN float sample_fixed(const float* at, int stride, const float* wx, const float* wy) {
  float column[taps] = {};
  for (int r = 0; r < taps; ++r)
    for (int c = 0; c < taps; ++c) column[c] += wy[r] * at[r * stride + c];
  float sum = 0;
  for (int c = 0; c < taps; ++c) sum += wx[c] * column[c];
  return sum;
}

// Along x first, in the order of fill_tile. Cells that are not finite count as 0, and so does a sum that overflows.
JP_FN float sample_in_order(const float* map, int stride, const Axis& x, const Axis& y, int px, int py) {
  const float* at = map + (i64)y.first[py] * stride + x.first[px];
  const float* wx = x.weights + (i64)px * x.taps;
  const float* wy = y.weights + (i64)py * y.taps;
  float sum = 0;
  for (int r = 0; r < y.taps; ++r) {
    float line = 0;
    for (int c = 0; c < x.taps; ++c) line += wx[c] * finite_or_0(at[r * stride + c]);
    sum += wy[r] * line;
  }
  return finite_or_0(sum);
}

// One decoded pixel; (px, py) lies on the decoded map. As sample_in_order, but for rounding.
JP_FN float sample(const float* map, int stride, const Axis& x, const Axis& y, int px, int py) {
  const float* at = map + (i64)y.first[py] * stride + x.first[px];
  if (x.taps == 4 && y.taps == 4) {
    const float sum = sample_fixed<4>(at, stride, x.weights + 4 * (i64)px, y.weights + 4 * (i64)py);
    if (finite(sum)) return sum;
  } else if (x.taps == 1 && y.taps == 1) {
    return finite_or_0(x.weights[px] * y.weights[py] * *at);
  }
  return sample_in_order(map, stride, x, y, px, py);
}

// The rows that a tile starting at decoded row `top` holds, and the cells' rows that these read.
struct Band {
  int begin, end;    // decoded rows on the map
  int first, count;  // rows of cells
};
JP_FN Band band_of(const Axis& y, int top) {
  Band band;
  band.begin = top < 0 ? 0 : top;
  band.end = top + kTile < y.size ? top + kTile : y.size;
  band.first = y.first[band.begin];
  band.count = y.first[band.end - 1] + y.taps - band.first;
  return band;
}

// Highest and lowest cell of each column of a band; NaN ignored. extremes holds 2 * width values.
template <class Group>
JP_FN void column_extremes(const Group& g, const float* map, int width, const Band& band, float* extremes) {
  const float* rows = map + (i64)band.first * width;
  float *high = extremes, *low = extremes + width;
  for (int x = g.rank(); x < width; x += g.size()) high[x] = low[x] = 0;
  for (int r = 0; r < band.count; ++r)
    for (int x = g.rank(); x < width; x += g.size()) {
      const float v = rows[(i64)r * width + x];
      high[x] = v > high[x] ? v : high[x];
      low[x] = v < low[x] ? v : low[x];
    }
  g.sync();
}

// False where no pixel of tile b can reach the threshold.
JP_FN bool may_reach(const Sampling& s, const float* extremes, int b, float threshold) {
  const float* high = extremes + s.search_x.first[b];
  const float* low = high + s.width;
  float top = 0, bottom = 0;
  for (int c = 0; c < s.search_x.span; ++c) {
    top = high[c] > top ? high[c] : top;
    bottom = low[c] < bottom ? low[c] : bottom;
  }
  return !(s.rise * top - s.fall * bottom < threshold);
}

// Fills tile (kTile, kTile) for the block b of columns and the decoded rows from top on: along x into lines
// (band.count, kTile), then along y. Pixels outside the map are 0; what is not finite counts as in sample_in_order().
template <class Group>
JP_FN void fill_tile(const Group& g, const Sampling& s, const float* map, int b, int top, const Band& band,
                     float* lines, float* tile) {
  const int span = s.search_x.span;
  const float* weights = s.search_x.weights + (i64)b * span * kTile;
  const float* cells = map + (i64)band.first * s.width + s.search_x.first[b];
  const int step = Group::serial ? kTile : 1;  // a CPU keeps a whole line in registers, a GPU gives each lane a pixel
  for (int at = g.rank() * step; at < band.count * kTile; at += g.size() * step) {
    const float* row = cells + (i64)(at / kTile) * s.width;
    const float* column = weights + at % kTile;
    float sum[Group::serial ? kTile : 1] = {};
    for (int c = 0; c < span; ++c) {
      const float cell = finite_or_0(row[c]);
      for (int x = 0; x < step; ++x) sum[x] += column[c * kTile + x] * cell;
    }
    for (int x = 0; x < step; ++x) lines[at + x] = sum[x];
  }
  g.sync();
  for (int at = g.rank() * step; at < kTile * kTile; at += g.size() * step) {
    const int y = top + at / kTile;
    const bool inside = y >= band.begin && y < band.end;
    float sum[Group::serial ? kTile : 1] = {};
    if (inside) {
      const float* line = lines + (s.search_y.first[y] - band.first) * kTile + at % kTile;
      const float* wy = s.search_y.weights + (i64)y * s.search_y.taps;
      for (int r = 0; r < s.search_y.taps; ++r)
        for (int x = 0; x < step; ++x) sum[x] += wy[r] * line[r * kTile + x];
    }
    for (int x = 0; x < step; ++x) tile[at + x] = finite_or_0(sum[x]);
  }
  g.sync();
}

}  // namespace paf
}  // namespace jetpose
