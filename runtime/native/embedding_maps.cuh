// Where associative embedding reads its heatmaps and tags: materialised maps, or the network's own outputs at one or
// two resolutions, resized to the wanted size only where a value is needed.
//
// A plane is one channel. It offers
//   at(x, y)                 one value
//   fill(g, rect, out, ..)   all values of a rectangle, by all lanes
//   range(rect)              bounds of all values of a rectangle; NaN ignored
// A source gives the planes: heat(joint) and tag(joint, component).
#pragma once
#include "group.cuh"

// GCC unrolls a short loop before it looks for vectors, and then finds none; this keeps the loop for it.
#if defined(__GNUC__) && !defined(__clang__) && !defined(__CUDACC__)
#define JP_VECTOR_LOOP _Pragma("GCC unroll 1")
#else
#define JP_VECTOR_LOOP
#endif

namespace jetpose {
namespace embedding {

constexpr int kTile = 16;      // side of the squares that are skipped or searched as a whole
constexpr int kMaxWindow = 9;  // suppression window, pixels; odd
constexpr int kMaxRect = kTile + kMaxWindow - 1;
constexpr int kMaxPatch = kMaxRect + 4;  // side of what a rectangle touches in two maps at most as fine
constexpr int kPatch = 2 * kMaxPatch * kMaxPatch;  // values that fill() needs

struct Rect {
  int x0, y0, x1, y1;  // x0 <= x < x1, y0 <= y < y1
  JP_FN int width() const { return x1 - x0; }
  JP_FN int height() const { return y1 - y0; }
};

struct Range {
  float low, high;  // low > high: no values but NaN
  JP_FN void add(float v) {
    low = v < low ? v : low;
    high = v > high ? v : high;
  }
};
JP_FN Range empty_range() { return {-negative_infinity(), negative_infinity()}; }

// body(x, y) for 0 <= x < width, 0 <= y < height, pixels shared among the lanes.
template <class Group, class Body>
JP_FN void for_pixels(const Group& g, int width, int height, const Body& body) {
  if constexpr (Group::serial) {
    for (int y = 0; y < height; ++y)
      for (int x = 0; x < width; ++x) body(x, y);
  } else {
    for (int i = g.rank(); i < width * height; i += g.size()) body(i % width, i / width);
  }
}

// Folds 2 * half bounds until `step` are left.
template <int half, int step>
JP_FN void fold(float* low, float* high) {
  if constexpr (half >= step && half > 0) {
    for (int j = 0; j < half; ++j) {
      low[j] = low[j + half] < low[j] ? low[j + half] : low[j];
      high[j] = high[j + half] > high[j] ? high[j + half] : high[j];
    }
    fold<half / 2, step>(low, high);
  }
}

// Running bounds of `lanes` neighbouring values over some rows: of every step-th from `offset`. The fixed trip counts
// make this a few vector registers on a CPU.
template <int lanes, int step>
JP_FN void add_columns(const float* first, i64 row, int rows, int offset, Range& range) {
  float low[lanes], high[lanes];
  for (int j = 0; j < lanes; ++j) {
    low[j] = -negative_infinity();
    high[j] = negative_infinity();
  }
  for (int y = 0; y < rows; ++y) {
    const float* p = first + y * row;
    JP_VECTOR_LOOP
    for (int j = 0; j < lanes; ++j) low[j] = p[j] < low[j] ? p[j] : low[j];
    JP_VECTOR_LOOP
    for (int j = 0; j < lanes; ++j) high[j] = p[j] > high[j] ? p[j] : high[j];
  }
  fold<lanes / 2, step>(low, high);
  range.low = low[offset] < range.low ? low[offset] : range.low;
  range.high = high[offset] > range.high ? high[offset] : range.high;
}

// Covers a rectangle at least `lanes` wide by columns; the last ones may be read twice.
template <int lanes>
JP_FN Range range_by(const float* first, i64 row, const Rect& r) {
  Range range = empty_range();
  for (int x = 0; x < r.width(); x += lanes)
    add_columns<lanes, 1>(first + (x + lanes < r.width() ? x : r.width() - lanes), row, r.height(), 0, range);
  return range;
}

// Bounds of the values map[step * pixel + offset] of a rectangle of rows of `width` pixels.
JP_FN Range range_of(const float* map, int width, int step, int offset, const Rect& r) {
  const float* first = map + ((i64)r.y0 * width + r.x0) * step;
  const i64 row = (i64)width * step;
  Range range = empty_range();
#ifndef __CUDA_ARCH__  // there the columns would lie in local memory
  if (step == 1) {
    if (r.width() >= 16) return range_by<16>(first, row, r);
    if (r.width() >= 8) return range_by<8>(first, row, r);
    if (r.width() >= 4) return range_by<4>(first, row, r);
    return range_by<1>(first, row, r);
  }
  if (step == 2 && r.width() == kTile) {
    add_columns<2 * kTile, 2>(first, row, r.height(), offset, range);
    return range;
  }
#endif
  for (int y = 0; y < r.height(); ++y)
    for (int x = 0; x < r.width(); ++x) range.add(first[y * row + x * step + offset]);
  return range;
}

// ---- materialised maps -----------------------------------------------------------------------------------------

struct MapPlane {
  const float* map;
  int width, height, step, offset;  // value of a pixel at step * pixel + offset

  JP_FN float at(int x, int y) const { return map[((i64)y * width + x) * step + offset]; }
  JP_FN Range range(const Rect& r) const { return range_of(map, width, step, offset, r); }
  template <class Group>
  JP_FN void fill(const Group& g, const Rect& r, float* out, float*) const {
    const int row = r.width();
    const float* from = map + ((i64)r.y0 * width + r.x0) * step + offset;
    const i64 from_row = (i64)width * step;
    if (Group::serial && step == 1 && row == kTile)  // known sizes, so that a CPU copies vectors
      for (int y = 0; y < r.height(); ++y) memcpy(out + y * kTile, from + y * from_row, sizeof(float) * kTile);
    else if (step == 1)
      for_pixels(g, row, r.height(), [&](int x, int y) { out[y * row + x] = from[y * from_row + x]; });
    else
      for_pixels(g, row, r.height(), [&](int x, int y) { out[y * row + x] = from[y * from_row + x * step]; });
    g.sync();
  }
};

struct MapSource {
  const float* heatmaps;  // (joints, height, width)
  const float* tags;      // (joints or 1, height, width, components)
  int width, height, components;
  i64 tag_stride;  // from one joint's tags to the next; 0: all share one map

  JP_FN MapPlane heat(int joint) const {
    return {heatmaps + (i64)joint * width * height, width, height, 1, 0};
  }
  JP_FN MapPlane tag(int joint, int component) const {
    return {tags + joint * tag_stride, width, height, components, component};
  }
};

// ---- network outputs at one or two resolutions -----------------------------------------------------------------

// Resizing along one axis. The two taps of a pixel are those of PyTorch's interpolate(align_corners=False) in float32:
// half-pixel centres, edge pixels repeated.
struct Axis {
  int from, to;  // pixels
  float scale;
};
JP_FN Axis axis(int from, int to) { return {from, to, (float)from / (float)to}; }

struct Taps {
  int first, second;
  float weight0, weight1;
};
JP_FN Taps taps_at(const Axis& a, int to) {
  float at = a.scale * ((float)to + 0.5f) - 0.5f;
  at = at < 0 ? 0 : at;
  const int first = (int)at < a.from ? (int)at : a.from - 1;
  const float weight = at - (float)first;
  return {first, first + (first < a.from - 1), 1 - weight, weight};
}
JP_FN float blend(float weight0, float a, float weight1, float b) { return weight0 * a + weight1 * b; }

JP_FN bool same_size(const Axis& x, const Axis& y) { return x.from == x.to && y.from == y.to; }

JP_FN float resized(const float* map, const Axis& ax, const Axis& ay, int x, int y) {
  if (same_size(ax, ay)) return map[(i64)y * ax.from + x];
  const Taps tx = taps_at(ax, x), ty = taps_at(ay, y);
  const float* above = map + (i64)ty.first * ax.from;
  const float* below = map + (i64)ty.second * ax.from;
  return blend(ty.weight0, blend(tx.weight0, above[tx.first], tx.weight1, above[tx.second]), ty.weight1,
               blend(tx.weight0, below[tx.first], tx.weight1, below[tx.second]));
}

// A whole map resized, by one lane.
JP_FN void resize_map(const float* map, const Axis& ax, const Axis& ay, float* out) {
  for (int y = 0; y < ay.to; ++y)
    for (int x = 0; x < ax.to; ++x) out[(i64)y * ax.to + x] = resized(map, ax, ay, x, y);
}

// The pixels that a rectangle of the resized map is made of.
JP_FN Rect touched(const Axis& ax, const Axis& ay, const Rect& r) {
  return {taps_at(ax, r.x0).first, taps_at(ay, r.y0).first, taps_at(ax, r.x1 - 1).second + 1,
          taps_at(ay, r.y1 - 1).second + 1};
}

// One line of a blend along x, and along y: what a CPU does for a whole line at once.
JP_FN void blend_columns(const float* line, const Taps* taps, int width, float* __restrict__ out) {
  for (int x = 0; x < width; ++x)
    out[x] = blend(taps[x].weight0, line[taps[x].first], taps[x].weight1, line[taps[x].second]);
}
JP_FN void blend_rows(const Taps& t, const float* above, const float* below, int width, float* __restrict__ out) {
  const float weight0 = t.weight0, weight1 = t.weight1;
  for (int x = 0; x < width; ++x) out[x] = blend(weight0, above[x], weight1, below[x]);
}

// The rectangle `to` of the resized map, by all lanes. `map` points at the first pixel of `from`, the pixels touched,
// in rows of map_row values; rows holds to.width() * from.height() values. As resized(), first along x, then along y.
template <class Group>
JP_FN void resize_rect(const Group& g, const float* map, int map_row, const Rect& from, const Axis& ax, const Axis& ay,
                       const Rect& to, float* out, float* rows) {
  const int width = to.width();
  if constexpr (Group::serial) {
    Taps columns[kMaxPatch];
    for (int x = 0; x < width; ++x) columns[x] = taps_at(ax, to.x0 + x);
    for (int y = 0; y < from.height(); ++y)
      blend_columns(map + (i64)y * map_row - from.x0, columns, width, rows + y * width);
    for (int y = 0; y < to.height(); ++y) {
      const Taps t = taps_at(ay, to.y0 + y);
      blend_rows(t, rows + (t.first - from.y0) * width, rows + (t.second - from.y0) * width, width, out + y * width);
    }
  } else {
    for_pixels(g, width, from.height(), [&](int x, int y) {
      const Taps t = taps_at(ax, to.x0 + x);
      const float* line = map + (i64)y * map_row - from.x0;
      rows[y * width + x] = blend(t.weight0, line[t.first], t.weight1, line[t.second]);
    });
    g.sync();
    for_pixels(g, width, to.height(), [&](int x, int y) {
      const Taps t = taps_at(ay, to.y0 + y);
      const float* column = rows + x - from.y0 * width;
      out[y * width + x] = blend(t.weight0, column[t.first * width], t.weight1, column[t.second * width]);
    });
    g.sync();
  }
}

// A coarse map resized to the size of the fine one and averaged with it, then resized once more. Without a fine map
// there is no average, but the same two steps. Sizes grow from step to step, or stay.
struct OutputPlane {
  const float* coarse;
  const float* fine;  // null: none
  Axis x1, y1;        // coarse to middle, the size of the fine map
  Axis x2, y2;        // middle to final
  int width, height;  // final

  JP_FN float middle(int x, int y) const {
    const float v = resized(coarse, x1, y1, x, y);
    return fine ? (v + fine[(i64)y * x1.to + x]) * 0.5f : v;
  }

  JP_FN float at(int x, int y) const {
    if (same_size(x2, y2)) return middle(x, y);
    const Taps tx = taps_at(x2, x), ty = taps_at(y2, y);
    return blend(ty.weight0, blend(tx.weight0, middle(tx.first, ty.first), tx.weight1, middle(tx.second, ty.first)),
                 ty.weight1,
                 blend(tx.weight0, middle(tx.first, ty.second), tx.weight1, middle(tx.second, ty.second)));
  }

  template <class Group>
  JP_FN void fill_middle(const Group& g, const Rect& r, float* out, float* rows) const {
    const int row = r.width();
    if (same_size(x1, y1)) {
      for_pixels(g, row, r.height(),
                 [&](int x, int y) { out[y * row + x] = coarse[(i64)(r.y0 + y) * x1.from + r.x0 + x]; });
    } else {
      const Rect from = touched(x1, y1, r);
      resize_rect(g, coarse + (i64)from.y0 * x1.from + from.x0, x1.from, from, x1, y1, r, out, rows);
    }
    if (fine)
      for_pixels(g, row, r.height(), [&](int x, int y) {
        const float v = fine[(i64)(r.y0 + y) * x1.to + r.x0 + x];
        out[y * row + x] = (out[y * row + x] + v) * 0.5f;
      });
    g.sync();
  }

  template <class Group>
  JP_FN void fill(const Group& g, const Rect& r, float* out, float* patch) const {
    float* rows = patch + kMaxPatch * kMaxPatch;
    if (same_size(x2, y2)) {
      fill_middle(g, r, out, rows);
    } else {
      const Rect from = touched(x2, y2, r);
      fill_middle(g, from, patch, rows);
      resize_rect(g, patch, from.width(), from, x2, y2, r, out, rows);
    }
  }

  // Blends lie between their inputs but for rounding, which is below 2e-6 of the largest magnitude.
  JP_FN Range range(const Rect& r) const {
    const Rect centre = touched(x2, y2, r);
    Range range = range_of(coarse, x1.from, 1, 0, touched(x1, y1, centre));
    float magnitude = fmaxf(fabsf(range.low), fabsf(range.high));
    if (fine) {
      const Range other = range_of(fine, x1.to, 1, 0, centre);
      magnitude = fmaxf(magnitude, fmaxf(fabsf(other.low), fabsf(other.high)));
      range.low = (range.low + other.low) * 0.5f;
      range.high = (range.high + other.high) * 0.5f;
    }
    const float slack = 4e-6f * magnitude;
    range.low -= slack;
    range.high += slack;
    if (finite(range.low) && finite(range.high)) return range;
    return {negative_infinity(), -negative_infinity()};  // overflow or nothing known: anything may be there
  }
};

struct OutputSource {
  const float* coarse;  // (joints, y1.from, x1.from)
  const float* fine;    // (joints, y1.to, x1.to) or null
  const float* tags;    // (joints or 1, y1.from, x1.from)
  i64 tag_stride;       // from one joint's tags to the next; 0: all share one map
  Axis x1, y1, x2, y2;  // see OutputPlane
  int width, height;    // final
  static constexpr int components = 1;

  JP_FN OutputPlane heat(int joint) const {
    return plane(coarse + (i64)joint * x1.from * y1.from, fine ? fine + (i64)joint * x1.to * y1.to : nullptr);
  }
  JP_FN OutputPlane tag(int joint, int) const { return plane(tags + joint * tag_stride, nullptr); }
  JP_FN OutputPlane plane(const float* low, const float* high) const {
    return {low, high, x1, y1, x2, y2, width, height};
  }
};

}  // namespace embedding
}  // namespace jetpose
