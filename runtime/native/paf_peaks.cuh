// Peaks of one part's map, of all four profiles.
//
//   lightweight  >= threshold and > its 4 neighbours; order x, then y; a peak removes every later one that is closer
//                than min_distance (Osokin 2018)
//   openpose     smoothed map > threshold and >= its 4 neighbours; row-major; score of the map before smoothing
//   tf_pose      smoothed map > threshold and >= its 8 neighbours; row-major; score of the map before smoothing
//   trt_pose     no enlarging; >= threshold and no larger value in the window; row-major; the first M; refined by the
//                window's centre of mass
// More than M peaks: of the first three profiles the M highest stay (then the lowest positions), before any removal.
#pragma once
#include "paf_types.cuh"

namespace jetpose {
namespace paf {

template <int profile>
JP_FN bool is_peak(const float* at, float threshold) {
  const float v = at[0];
  const float l = at[-1], r = at[1], u = at[-kTile], d = at[kTile];
  if (profile == kLightweight) return (v >= threshold) & (v > l) & (v > r) & (v > u) & (v > d);
  const bool cross = (v > threshold) & (v >= l) & (v >= r) & (v >= u) & (v >= d);
  if (profile == kOpenPose) return cross;
  return cross & (v >= at[-kTile - 1]) & (v >= at[-kTile + 1]) & (v >= at[kTile - 1]) & (v >= at[kTile + 1]);
}

// Peaks in the core of one row of a tile; `width` is how many of its pixels lie on the map.
template <int profile>
JP_FN int count_peaks(const float* row, int width, float threshold) {
  int count = 0;
  if (width == kCore) {
    for (int x = 0; x < kCore; ++x) count += is_peak<profile>(row + x, threshold);
  } else {
    for (int x = 0; x < width; ++x) count += is_peak<profile>(row + x, threshold);
  }
  return count;
}

// Appends a tile's peaks to keys and returns the new count; cut to the best M where there are more.
template <int profile, class Group>
JP_FN int append_peaks(const Group& g, const Params& p, const float* tile, int left, int top, u64* keys, u64* spare,
                       int count) {
  const int width = p.width - left < kCore ? p.width - left : kCore;
  const int height = p.height - top < kCore ? p.height - top : kCore;
  int mine = 0, total;
  for (int y = g.rank(); y < height; y += g.size())
    mine += count_peaks<profile>(tile + (y + 1) * kTile + 1, width, p.peak_threshold);
  int at = count + g.scan(mine, total);
  const int end = at + mine;
  for (int y = g.rank(); y < height && at < end; y += g.size()) {
    const float* row = tile + (y + 1) * kTile + 1;
    if (count_peaks<profile>(row, width, p.peak_threshold) == 0) continue;
    for (int x = 0; x < width; ++x)
      if (is_peak<profile>(row + x, p.peak_threshold))
        keys[at++] = score_key(row[x], (u32)((top + y) * p.width + left + x));
  }
  g.sync();
  count += total;
  if (count <= p.max_peaks) return count;
  sort_descending(g, keys, spare, count);
  return p.max_peaks;
}

// All peaks of one map as keys (score, row-major position), in no order.
template <int profile, class Group>
JP_FN int search_tiles(const Group& g, const Params& p, const Sampling& s, const float* map, float* memory, u64* keys,
                       u64* spare) {
  float *tile = memory, *extremes = tile + kTile * kTile, *lines = extremes + 2 * s.width;
  int count = 0;
  for (int top = 0; top < p.height; top += kCore) {
    const Band band = band_of(s.search_y, top - 1);
    column_extremes(g, map, s.width, band, extremes);
    for (int b = 0; b < s.search_x.count; ++b) {
      if (!may_reach(s, extremes, b, p.peak_threshold)) continue;
      fill_tile(g, s, map, b, top - 1, band, lines, tile);
      count = append_peaks<profile>(g, p, tile, b * kCore, top, keys, spare, count);
    }
    g.sync();
  }
  return count;
}

// Walking in order, a peak that stays removes the later ones that are too close. One lane.
JP_FN int remove_close(const Params& p, u64* keys, int count) {
  int kept = 0;
  for (int i = 0; i < count; ++i) {
    const u32 order = ~(u32)(keys[i] >> 32);
    const float x = (float)(order / p.height), y = (float)(order % p.height);
    bool stays = true;
    for (int j = kept - 1; j >= 0 && stays; --j) {
      const u32 other = ~(u32)(keys[j] >> 32);
      const float dx = x - (float)(other / p.height), dy = y - (float)(other % p.height);
      if (dx >= p.min_distance) break;  // in order of x: all others are further away
      stays = !(sqrtf(dx * dx + dy * dy) < p.min_distance);
    }
    if (stays) keys[kept++] = keys[i];
  }
  return kept;
}

struct PeakMemory {
  float* tile;  // tile_memory() values
  u64 *keys, *spare;  // key_memory() each
};
JP_FN i64 tile_memory(const Sampling& s) { return kTile * kTile + 2 * (i64)s.width + (i64)s.height * kTile; }
JP_FN i64 key_memory(const Params& p) { return p.max_peaks + kCore * kCore; }

template <int profile, class Group>
JP_FN void find_upsampled(const Group& g, const Params& p, const Sampling& s, const float* map, int part,
                          const PeakMemory& memory, const Peaks& out) {
  u64* keys = memory.keys;
  int count = search_tiles<profile>(g, p, s, map, memory.tile, keys, memory.spare);
  for (int i = g.rank(); i < count; i += g.size()) {  // key: the order in which peaks are numbered, then the value
    const u32 at = key_position(keys[i]);
    const u32 order = profile == kLightweight ? at % p.width * p.height + at / p.width : at;
    keys[i] = (u64)~order << 32 | keys[i] >> 32;
  }
  g.sync();
  sort_descending(g, keys, memory.spare, count);
  if (profile == kLightweight) {
    int kept = 0;
    if (g.rank() == 0) kept = remove_close(p, keys, count);
    count = (int)g.max((u64)kept);
  }
  for (int i = g.rank(); i < count; i += g.size()) {
    const int order = (int)~(u32)(keys[i] >> 32), at = part * p.max_peaks + i;
    const float searched = from_ordered((u32)keys[i]);
    const int x = profile == kLightweight ? order / p.height : order % p.width;
    const int y = profile == kLightweight ? order % p.height : order / p.width;
    out.cells[2 * at] = x;
    out.cells[2 * at + 1] = y;
    out.searched[at] = searched;
    out.points[3 * at] = (float)x;
    out.points[3 * at + 1] = (float)y;
    out.points[3 * at + 2] = profile == kLightweight ? searched : sample(map, s.width, s.x, s.y, x, y);
  }
  if (g.rank() == 0) out.counts[part] = count;
  g.sync();
}

// ---- trt_pose -----------------------------------------------------------------------------------------------

JP_FN bool highest_in_window(const Params& p, const float* map, int i) {
  const float v = map[i];
  if (!(v >= p.peak_threshold) || !finite(v)) return false;
  const int half = p.window / 2, x = i % p.width, y = i / p.width;
  if (half > 0) {  // what is no peak mostly shows next to it
    if ((x > 0 && map[i - 1] > v) || (x + 1 < p.width && map[i + 1] > v)) return false;
    if ((y > 0 && map[i - p.width] > v) || (y + 1 < p.height && map[i + p.width] > v)) return false;
  }
  const int x0 = clampi(x - half, 0, x), x1 = clampi(x + half, x, p.width - 1);
  const int y0 = clampi(y - half, 0, y), y1 = clampi(y + half, y, p.height - 1);
  for (int yy = y0; yy <= y1; ++yy)
    for (int xx = x0; xx <= x1; ++xx)
      if (map[(i64)yy * p.width + xx] > v) return false;
  return true;
}

// Values beyond the border are mirrored, but weigh the place beyond it. Maps smaller than the window repeat the edge.
JP_FN int mirrored(int i, int n) { return clampi(i < 0 ? -i : i >= n ? 2 * n - 2 - i : i, 0, n - 1); }

// x, y in map pixels, the first pixel's centre at 0.5 (as the authors have it). Divided by the map's size and
// multiplied again, because they keep the quotient.
JP_FN void refine(const Params& p, const float* map, int x, int y, float* point) {
  const int half = p.window / 2;
  const bool inside = x >= half && x + half < p.width;
  float sum = 0, sum_x = 0, sum_y = 0;
  for (int dy = -half; dy <= half; ++dy) {
    const float* row = map + (i64)mirrored(y + dy, p.height) * p.width;
    for (int dx = -half; dx <= half; ++dx) {
      const float v = row[inside ? x + dx : mirrored(x + dx, p.width)];
      sum += v;
      sum_x += v * (float)(x + dx);
      sum_y += v * (float)(y + dy);
    }
  }
  const float at_x = (sum_x / sum + 0.5f) / (float)p.width * (float)p.width;
  const float at_y = (sum_y / sum + 0.5f) / (float)p.height * (float)p.height;
  const bool good = finite(at_x) && finite(at_y);
  point[0] = good ? at_x : (float)x + 0.5f;
  point[1] = good ? at_y : (float)y + 0.5f;
  point[2] = map[(i64)y * p.width + x];
}

constexpr int kStretch = 32;
JP_FN bool any_reaches(const float* stretch, float threshold) {
  int any = 0;
  for (int i = 0; i < kStretch; ++i) any |= stretch[i] >= threshold;
  return any != 0;
}

// Row-major, the first M. A CPU passes over stretches without a candidate, a GPU gives each lane a pixel.
template <class Group>
JP_FN void find_windowed(const Group& g, const Params& p, const float* map, int part, const Peaks& out) {
  const int n = p.width * p.height;
  int* cells = out.cells + (i64)part * p.max_peaks * 2;
  int count = 0;
  for (int base = 0; base < n && count < p.max_peaks;) {
    if constexpr (Group::serial) {
      if (base % kStretch == 0 && n - base >= kStretch && !any_reaches(map + base, p.peak_threshold)) {
        base += kStretch;
        continue;
      }
    }
    const int i = base + g.rank();
    const int found = i < n && highest_in_window(p, map, i);
    int total;
    const int at = count + g.scan(found, total);
    if (found && at < p.max_peaks) {
      cells[2 * at] = i % p.width;
      cells[2 * at + 1] = i / p.width;
    }
    count += total;
    base += g.size();
  }
  count = count < p.max_peaks ? count : p.max_peaks;
  g.sync();
  for (int i = g.rank(); i < count; i += g.size()) {
    const int at = part * p.max_peaks + i;
    refine(p, map, cells[2 * i], cells[2 * i + 1], out.points + 3 * (i64)at);
    out.searched[at] = out.points[3 * (i64)at + 2];
  }
  if (g.rank() == 0) out.counts[part] = count;
  g.sync();
}

template <class Group>
JP_FN void find_peaks(const Group& g, const Params& p, const Sampling& s, const float* map, int part,
                      const PeakMemory& memory, const Peaks& out) {
  switch (p.profile) {
    case kLightweight: return find_upsampled<kLightweight>(g, p, s, map, part, memory, out);
    case kOpenPose: return find_upsampled<kOpenPose>(g, p, s, map, part, memory, out);
    case kTfPose: return find_upsampled<kTfPose>(g, p, s, map, part, memory, out);
    default: return find_windowed(g, p, map, part, out);
  }
}

}  // namespace paf
}  // namespace jetpose
