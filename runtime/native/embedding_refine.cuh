// What follows the grouping: the quarter shift of found keypoints, the people's scores, and the search for the
// keypoints that a person misses.
#pragma once
#include "embedding_group.cuh"
#include "embedding_peaks.cuh"

namespace jetpose {
namespace embedding {

// A quarter pixel towards the higher neighbour; a tie moves down; neighbours are clamped to the map.
template <class Plane>
JP_FN float quarter_x(const Plane& plane, int x, int y) {
  return plane.at(x + 1 < plane.width ? x + 1 : x, y) > plane.at(x > 0 ? x - 1 : x, y) ? 0.25f : -0.25f;
}
template <class Plane>
JP_FN float quarter_y(const Plane& plane, int x, int y) {
  return plane.at(x, y + 1 < plane.height ? y + 1 : y) > plane.at(x, y > 0 ? y - 1 : y) ? 0.25f : -0.25f;
}

// Shifts the found keypoints, and leaves missing ones at NaN, NaN, 0. A person's score is the mean of its keypoints'
// scores, zeros included, before anything is refined. mean: (capacity, components) out, the person's tag.
template <class Group, class Source>
JP_FN void finish_people(const Group& g, const Params& p, const Source& source, const People& people, int count,
                         float* mean) {
  const int joints = p.joints, parts = p.components;
  for (int i = g.rank(); i < count * joints; i += g.size()) {
    float* point = people.keypoints + (i64)i * 3;
    if (!(point[2] > 0)) {
      point[0] = point[1] = negative_infinity() - negative_infinity();
    } else if (p.adjust) {
      const auto plane = source.heat(i % joints);
      const int x = (int)point[0], y = (int)point[1];
      point[0] += quarter_x(plane, x, y) + 0.5f;
      point[1] += quarter_y(plane, x, y) + 0.5f;
    }
  }
  g.sync();
  for (int person = g.rank(); person < count; person += g.size()) {
    const float* points = people.keypoints + (i64)person * joints * 3;
    const float* tags = people.tags + (i64)person * joints * parts;
    people.scores[person] = pairwise_sum(joints, [&](int j) { return points[3 * j + 2]; }) / (float)joints;
    int found[kMaxJoints], n = 0;
    for (int j = 0; j < joints; ++j)
      if (points[3 * j + 2] > 0) found[n++] = j;
    for (int t = 0; t < parts; ++t)
      mean[(i64)person * parts + t] = mean_of(n, parts, [&](int j) { return tags[found[j] * parts + t]; });
  }
  g.sync();
}

// What the search of one joint knows of the map's tiles.
struct Tiles {
  int count;
  const float* heat;  // upper bounds of the heatmap
  float* low;         // (components, count) bounds of the tags; infinite as long as they are not known
  float* high;
  u8* known;
  float* bounds;  // of h - round(distance) for the person in hand
};

template <class Source>
JP_FN void learn_tile(const Source& source, const Tiles& tiles, int joint, int tile) {
  const Rect rect = tile_rect(tile, source.width, source.height);
  for (int t = 0; t < source.components; ++t) {
    const Range range = source.tag(joint, t).range(rect);
    tiles.low[t * tiles.count + tile] = range.low;
    tiles.high[t * tiles.count + tile] = range.high;
  }
  tiles.known[tile] = 1;
}

// Starts a joint: tags are learned at once where the heatmap is above `warm`, elsewhere when the search gets there.
template <class Group, class Source>
JP_FN void start_tiles(const Group& g, const Source& source, const Tiles& tiles, int joint, float warm) {
  for (int tile = g.rank(); tile < tiles.count; tile += g.size()) {
    tiles.known[tile] = 0;
    for (int t = 0; t < source.components; ++t) {
      tiles.low[t * tiles.count + tile] = negative_infinity();
      tiles.high[t * tiles.count + tile] = -negative_infinity();
    }
    if (tiles.heat[tile] > warm) learn_tile(source, tiles, joint, tile);
  }
}

// Distances are formed in float32 in NumPy's order of operations. Each step is monotone under rounding, so the same
// steps on the nearest tag of a range bound the result for every tag in it.
template <class Group>
JP_FN void bound_tiles(const Group& g, const Tiles& tiles, int components, const float* mean) {
  for (int t = 0; t < components; ++t) {
    const float* low = tiles.low + t * tiles.count;
    const float* high = tiles.high + t * tiles.count;
    const float m = mean[t];
    for (int i = g.rank(); i < tiles.count; i += g.size()) {
      const float gap = m < low[i] ? low[i] - m : m > high[i] ? m - high[i] : 0.0f;
      tiles.bounds[i] = (t > 0 ? tiles.bounds[i] : 0.0f) + gap * gap;
    }
  }
  for (int i = g.rank(); i < tiles.count; i += g.size())
    tiles.bounds[i] = tiles.heat[i] - rintf(sqrtf(tiles.bounds[i]));
}

// Replaces the heatmap's pixels by h - round(|tag - mean|), -infinity where a value is not finite.
//   tags  components x n;  parts: the number of components if the compiler shall know it, else 0
template <int parts, class Group>
JP_FN void score_pixels(const Group& g, int n, int components, const float* mean, const float* tags, float* heat) {
  for (int i = g.rank(); i < n; i += g.size()) {
    float sum = 0;
    for (int t = 0; t < (parts ? parts : components); ++t) {
      const float d = tags[t * n + i] - mean[t];
      sum += d * d;
    }
    const float value = heat[i] - rintf(sqrtf(sum));
    heat[i] = heat[i] - heat[i] == 0 && value - value == 0 ? value : negative_infinity();
  }
}

// Best pixel of one tile as a key, given to all lanes; 0 if no pixel has finite values.
//   buffer  kTile^2 (1 + components) + kPatch values
template <class Group, class Source>
JP_FN u64 search_tile(const Group& g, const Source& source, int joint, const Rect& rect, const float* mean,
                      float* buffer) {
  const int n = rect.width() * rect.height(), parts = source.components;
  float* heat = buffer;
  float* patch = heat + kTile * kTile;
  float* tags = patch + kPatch;
  source.heat(joint).fill(g, rect, heat, patch);
  for (int t = 0; t < parts; ++t) source.tag(joint, t).fill(g, rect, tags + t * n, patch);
  if (parts == 1)
    score_pixels<1>(g, n, parts, mean, tags, heat);
  else if (parts == 2)
    score_pixels<2>(g, n, parts, mean, tags, heat);
  else
    score_pixels<0>(g, n, parts, mean, tags, heat);
  g.sync();
  const Peak peak = argmax(g, heat, n);
  if (peak.value == negative_infinity()) return 0;
  const int x = rect.x0 + peak.index % rect.width(), y = rect.y0 + peak.index / rect.width();
  return score_key(peak.value, (u32)(y * source.width + x));
}

// First pixel, in row-major order, of the largest h - round(|tag - mean|), as a key; 0: none. Tiles are visited best
// bound first. Where a tile with unknown tags comes first, the tags of all tiles that could still win are learned,
// for this person and the next.
template <class Group, class Source>
JP_FN u64 search_map(const Group& g, const Source& source, const Tiles& tiles, int joint, const float* mean,
                     float* buffer) {
  bound_tiles(g, tiles, source.components, mean);
  g.sync();
  u64 best = 0;
  for (;;) {
    const Peak top = argmax(g, tiles.bounds, tiles.count);
    if (top.value == negative_infinity()) return best;
    const Rect rect = tile_rect(top.index, source.width, source.height);
    if (score_key(top.value, (u32)(rect.y0 * source.width + rect.x0)) <= best) return best;
    if (tiles.known[top.index]) {
      const u64 found = search_tile(g, source, joint, rect, mean, buffer);
      if (found > best) best = found;
      if (g.rank() == 0) tiles.bounds[top.index] = negative_infinity();
    } else {
      g.sync();  // all have read known[]
      for (int i = g.rank(); i < tiles.count; i += g.size())
        if (!tiles.known[i] && (best == 0 || tiles.bounds[i] >= key_score(best)))
          learn_tile(source, tiles, joint, i);
      bound_tiles(g, tiles, source.components, mean);  // tiles searched before come back: few, and known to lose
    }
    g.sync();
  }
}

// Finds one joint for all people that miss it.
template <class Group, class Source>
JP_FN void refine_joint(const Group& g, const Params& p, const Source& source, const Tiles& tiles, int joint,
                        const People& people, int count, const float* mean, float* buffer) {
  const auto plane = source.heat(joint);
  bool started = false;
  for (int person = 0; person < count; ++person) {
    float* point = people.keypoints + ((i64)person * p.joints + joint) * 3;
    const bool missing = !(point[2] > 0);
    g.sync();  // all have read the score before it is written
    if (!missing) continue;
    if (!started) start_tiles(g, source, tiles, joint, (float)(0.25 * p.threshold));
    started = true;
    const u64 key = search_map(g, source, tiles, joint, mean + (i64)person * p.components, buffer);
    if (g.rank() == 0 && key != 0) {
      const int position = (int)key_position(key), x = position % source.width, y = position / source.width;
      const float value = plane.at(x, y);
      if (value > 0) {
        point[0] = x + 0.5f + quarter_x(plane, x, y);
        point[1] = y + 0.5f + quarter_y(plane, x, y);
        point[2] = p.refined_one ? 1.0f : value;
      }
    }
  }
  g.sync();
}

}  // namespace embedding
}  // namespace jetpose
