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

namespace jetpose {
namespace embedding {

constexpr int kTile = 16;      // side of the squares that are skipped or searched as a whole
constexpr int kMaxWindow = 9;  // suppression window, pixels; odd
constexpr int kMaxRect = kTile + kMaxWindow - 1;
constexpr int kMaxPatch = kMaxRect + 2;  // pixels of a map at most as fine that a rectangle touches

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

// Running bounds of `lanes` interleaved columns; the fixed trip count makes them vector registers on a CPU.
template <int lanes>
JP_FN Range strided_range(const float* first, i64 row, int rows, int step, int offset) {
  float low[lanes], high[lanes];
  for (int j = 0; j < lanes; ++j) {
    low[j] = -negative_infinity();
    high[j] = negative_infinity();
  }
  for (int y = 0; y < rows; ++y) {
    const float* p = first + y * row;
    for (int j = 0; j < lanes; ++j) {
      low[j] = p[j] < low[j] ? p[j] : low[j];
      high[j] = p[j] > high[j] ? p[j] : high[j];
    }
  }
  Range range = empty_range();
  for (int j = offset; j < lanes; j += step) {
    range.low = low[j] < range.low ? low[j] : range.low;
    range.high = high[j] > range.high ? high[j] : range.high;
  }
  return range;
}

// Bounds of the values p[step * x + offset] of a rectangle of rows of `width` pixels.
JP_FN Range range_of(const float* map, int width, int step, int offset, const Rect& r) {
  const float* first = map + ((i64)r.y0 * width + r.x0) * step;
  if (r.width() == kTile && step == 1) return strided_range<kTile>(first, width, r.height(), 1, 0);
  if (r.width() == kTile && step == 2)
    return strided_range<2 * kTile>(first, (i64)width * 2, r.height(), 2, offset);
  Range range = empty_range();
  for (int y = 0; y < r.height(); ++y)
    for (int x = 0; x < r.width(); ++x) range.add(first[((i64)y * width + x) * step + offset]);
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
    for_pixels(g, row, r.height(), [&](int x, int y) { out[y * row + x] = at(r.x0 + x, r.y0 + y); });
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

// The two taps of bilinear resizing along one axis, half-pixel centres, edge pixels repeated, as PyTorch's
// interpolate(align_corners=False) computes them in float32.
struct Taps {
  int first, second;
  float weight0, weight1;
};
JP_FN Taps taps_at(int to, int from_size, int to_size) {
  const float scale = (float)from_size / (float)to_size;
  float at = scale * ((float)to + 0.5f) - 0.5f;
  at = at < 0 ? 0 : at;
  const int first = clampi((int)at, 0, from_size - 1);
  const float weight = at - (float)first;
  return {first, first + (first < from_size - 1), 1 - weight, weight};
}
JP_FN float blend(const Taps& x, const Taps& y, float a, float b, float c, float d) {
  return y.weight0 * (x.weight0 * a + x.weight1 * b) + y.weight1 * (x.weight0 * c + x.weight1 * d);
}
JP_FN float resized(const float* map, int width, int height, int to_width, int to_height, int x, int y) {
  if (width == to_width && height == to_height) return map[(i64)y * width + x];
  const Taps tx = taps_at(x, width, to_width), ty = taps_at(y, height, to_height);
  const float* above = map + (i64)ty.first * width;
  const float* below = map + (i64)ty.second * width;
  return blend(tx, ty, above[tx.first], above[tx.second], below[tx.first], below[tx.second]);
}

// A whole map resized, by one lane.
JP_FN void resize_map(const float* map, int width, int height, float* out, int to_width, int to_height) {
  if (width == to_width && height == to_height) {
    for (i64 i = 0; i < (i64)width * height; ++i) out[i] = map[i];
    return;
  }
  for (int y = 0; y < to_height; ++y) {
    const Taps ty = taps_at(y, height, to_height);
    const float* above = map + (i64)ty.first * width;
    const float* below = map + (i64)ty.second * width;
    float* to = out + (i64)y * to_width;
    for (int x = 0; x < to_width; ++x) {
      const Taps tx = taps_at(x, width, to_width);
      to[x] = blend(tx, ty, above[tx.first], above[tx.second], below[tx.first], below[tx.second]);
    }
  }
}

// The pixels of a map of from_size that the pixels [low, high) of a map of to_size touch.
JP_FN void touched(int low, int high, int from_size, int to_size, int& first, int& last) {
  first = taps_at(low, from_size, to_size).first;
  last = taps_at(high - 1, from_size, to_size).second + 1;
}
JP_FN Rect touched(const Rect& r, int width, int height, int to_width, int to_height) {
  Rect from;
  touched(r.x0, r.x1, width, to_width, from.x0, from.x1);
  touched(r.y0, r.y1, height, to_height, from.y0, from.y1);
  return from;
}

// A coarse map resized to the size of the fine one and averaged with it, then resized to width x height. Without a
// fine map there is no average; the middle size stays (tags take the same two steps). Sizes grow from step to step.
struct OutputPlane {
  const float* coarse;
  const float* fine;  // null: none
  int coarse_width, coarse_height, middle_width, middle_height, width, height;

  JP_FN float middle(int x, int y) const {
    const float v = resized(coarse, coarse_width, coarse_height, middle_width, middle_height, x, y);
    return fine ? (v + fine[(i64)y * middle_width + x]) * 0.5f : v;
  }

  JP_FN float at(int x, int y) const {
    if (middle_width == width && middle_height == height) return middle(x, y);
    const Taps tx = taps_at(x, middle_width, width), ty = taps_at(y, middle_height, height);
    return blend(tx, ty, middle(tx.first, ty.first), middle(tx.second, ty.first), middle(tx.first, ty.second),
                 middle(tx.second, ty.second));
  }

  template <class Group>
  JP_FN void fill(const Group& g, const Rect& r, float* out, float* patch) const {
    const bool same = middle_width == width && middle_height == height;
    const Rect from = same ? r : touched(r, middle_width, middle_height, width, height);
    const int row = r.width(), patch_row = from.width();
    float* to = same ? out : patch;
    for_pixels(g, patch_row, from.height(),
               [&](int x, int y) { to[y * patch_row + x] = middle(from.x0 + x, from.y0 + y); });
    g.sync();
    if (same) return;
    for_pixels(g, row, r.height(), [&](int x, int y) {
      const Taps tx = taps_at(r.x0 + x, middle_width, width), ty = taps_at(r.y0 + y, middle_height, height);
      const float* above = patch + (ty.first - from.y0) * patch_row - from.x0;
      const float* below = patch + (ty.second - from.y0) * patch_row - from.x0;
      out[y * row + x] = blend(tx, ty, above[tx.first], above[tx.second], below[tx.first], below[tx.second]);
    });
    g.sync();
  }

  // Blends lie between their inputs but for rounding, which is below 2e-6 of the largest magnitude.
  JP_FN Range range(const Rect& r) const {
    const Rect centre = touched(r, middle_width, middle_height, width, height);
    const Rect outer = touched(centre, coarse_width, coarse_height, middle_width, middle_height);
    Range range = range_of(coarse, coarse_width, 1, 0, outer);
    float magnitude = fmaxf(fabsf(range.low), fabsf(range.high));
    if (fine) {
      const Range other = range_of(fine, middle_width, 1, 0, centre);
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
  const float* coarse;  // (joints, coarse_height, coarse_width)
  const float* fine;    // (joints, middle_height, middle_width) or null
  const float* tags;    // (joints or 1, coarse_height, coarse_width)
  static constexpr int components = 1;
  int coarse_width, coarse_height, middle_width, middle_height, width, height;
  i64 tag_stride;  // from one joint's tags to the next; 0: all share one map

  JP_FN OutputPlane heat(int joint) const {
    return plane(coarse + (i64)joint * coarse_width * coarse_height,
                 fine ? fine + (i64)joint * middle_width * middle_height : nullptr);
  }
  JP_FN OutputPlane tag(int joint, int) const { return plane(tags + joint * tag_stride, nullptr); }
  JP_FN OutputPlane plane(const float* low, const float* high) const {
    return {low, high, coarse_width, coarse_height, middle_width, middle_height, width, height};
  }
};

}  // namespace embedding
}  // namespace jetpose
