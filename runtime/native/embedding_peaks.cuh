// The best local maxima of one heatmap: non-maximum suppression and top-k in one pass over the tiles that can hold
// a peak.
#pragma once
#include "embedding_maps.cuh"

namespace jetpose {
namespace embedding {

JP_FN int tiles_across(int size) { return (size + kTile - 1) / kTile; }
JP_FN int tile_count(int width, int height) { return tiles_across(width) * tiles_across(height); }
JP_FN Rect tile_rect(int tile, int width, int height) {
  const int across = tiles_across(width), x = tile % across * kTile, y = tile / across * kTile;
  return {x, y, x + kTile < width ? x + kTile : width, y + kTile < height ? y + kTile : height};
}

// Inserts a key into a list of at most `capacity` keys in descending order; the lowest falls out.
JP_FN void insert_key(u64* list, int& count, int capacity, u64 key) {
  if (count == capacity && key <= list[capacity - 1]) return;
  int at = count < capacity ? count++ : capacity - 1;
  for (; at > 0 && list[at - 1] < key; --at) list[at] = list[at - 1];
  list[at] = key;
}

// True if no pixel of the window around (x, y) is higher; `values` holds `rect` of the map. NaN is passed over.
JP_FN bool is_peak(const float* values, const Rect& rect, int half, int x, int y) {
  const int row = rect.width();
  const float* at = values + (y - rect.y0) * row + x - rect.x0;
  const float v = *at;
  if (half > 0 && ((x > rect.x0 && at[-1] > v) || (x + 1 < rect.x1 && at[1] > v) || (y > rect.y0 && at[-row] > v) ||
                   (y + 1 < rect.y1 && at[row] > v)))
    return false;  // most pixels end here
  const int x0 = x - half < rect.x0 ? rect.x0 : x - half, x1 = x + half < rect.x1 ? x + half : rect.x1 - 1;
  const int y0 = y - half < rect.y0 ? rect.y0 : y - half, y1 = y + half < rect.y1 ? y + half : rect.y1 - 1;
  for (int j = y0; j <= y1; ++j)
    for (int i = x0; i <= x1; ++i)
      if (values[(j - rect.y0) * row + i - rect.x0] > v) return false;
  return true;
}

// Merges the lanes' sorted lists (each `capacity` long, `count` used) into `best`; returns its length to all lanes.
template <class Group>
JP_FN int merge_lists(const Group& g, const u64* list, int count, int capacity, u64* best) {
  int head = 0, merged = 0;
  for (; merged < capacity; ++merged) {
    const u64 key = g.max(head < count ? list[head] : 0);
    if (key == 0) break;
    if (head < count && list[head] == key) ++head;  // keys are distinct
    if (g.rank() == 0) best[merged] = key;
  }
  g.sync();
  return merged;
}

// The float below which, or at which, no float is above a double: v > limit exactly where (double)v > threshold.
JP_FN float float_limit(double threshold) {
  const float limit = (float)threshold;
  return (double)limit > threshold ? from_ordered(ordered(limit) - 1) : limit;
}

// The `capacity` highest finite peaks above the threshold, as keys (score descending, position ascending). Every
// pixel of a plateau is a peak.
//   bounds   out, one per tile: the largest value there, or a little more
//   lists    capacity keys per lane
//   buffer   kMaxRect^2 + kPatch values
template <class Group, class Plane>
JP_FN int find_peaks(const Group& g, const Plane& plane, float threshold, int window, int capacity, float* bounds,
                     u64* lists, float* buffer, u64* best) {
  const int w = plane.width, h = plane.height, tiles = tile_count(w, h), half = window / 2;
  for (int t = g.rank(); t < tiles; t += g.size()) bounds[t] = plane.range(tile_rect(t, w, h)).high;
  g.sync();
  u64* list = lists + g.rank() * capacity;
  int count = 0;
  for (int t = 0; t < tiles; ++t) {
    if (!(bounds[t] > threshold)) continue;  // the same for all lanes
    const Rect tile = tile_rect(t, w, h);
    const Rect rect{tile.x0 > half ? tile.x0 - half : 0, tile.y0 > half ? tile.y0 - half : 0,
                    tile.x1 + half < w ? tile.x1 + half : w, tile.y1 + half < h ? tile.y1 + half : h};
    plane.fill(g, rect, buffer, buffer + kMaxRect * kMaxRect);
    for_pixels(g, tile.width(), tile.height(), [&](int i, int j) {
      const int x = tile.x0 + i, y = tile.y0 + j;
      const float v = buffer[(y - rect.y0) * rect.width() + x - rect.x0];
      if (v > threshold && finite(v) && is_peak(buffer, rect, half, x, y))
        insert_key(list, count, capacity, score_key(v, (u32)(y * w + x)));
    });
    g.sync();
  }
  return merge_lists(g, list, count, capacity, best);
}

}  // namespace embedding
}  // namespace jetpose
