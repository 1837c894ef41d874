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
  const float* heat;  // upper bound of the heatmap
  Range* tags;        // components ranges per tile, once known
  u8* known;          // are they?
  u64* keys;          // upper bound of the key of any pixel for the person in hand
};

// Distance in float32, in NumPy's order of operations. Each step is monotone under rounding: the same steps on the
// nearest tag of a range bound the distance of every tag in it.
template <class Value>
JP_FN float tag_distance(int components, const Value& difference) {
  float sum = 0;
  for (int t = 0; t < components; ++t) {
    const float d = difference(t);
    sum += d * d;
  }
  return sqrtf(sum);
}

JP_FN u64 bound_key(const Tiles& tiles, int tile, const Rect& rect, int width, const float* mean, int components) {
  float bound = tiles.heat[tile];
  if (tiles.known[tile])
    bound -= rintf(tag_distance(components, [&](int t) {
      const Range& r = tiles.tags[tile * components + t];
      return mean[t] < r.low ? r.low - mean[t] : mean[t] > r.high ? mean[t] - r.high : 0.0f;
    }));
  if (bound == negative_infinity()) return 0;  // nothing finite here
  return score_key(bound, (u32)(rect.y0 * width + rect.x0));
}

template <class Source>
JP_FN void learn_tags(const Source& source, const Tiles& tiles, int joint, int tile, const Rect& rect) {
  for (int t = 0; t < source.components; ++t)
    tiles.tags[tile * source.components + t] = source.tag(joint, t).range(rect);
  tiles.known[tile] = 1;
}

// Best key of h - round(|tag - mean|) in one tile, given to all lanes; 0 if no pixel has finite values.
template <class Group, class Source>
JP_FN u64 search_tile(const Group& g, const Source& source, int joint, const Rect& rect, const float* mean,
                      float* buffer) {
  const int area = rect.width() * rect.height(), parts = source.components;
  float* heat = buffer;
  float* patch = buffer + kTile * kTile;
  float* tags = patch + kMaxPatch * kMaxPatch;
  source.heat(joint).fill(g, rect, heat, patch);
  for (int t = 0; t < parts; ++t) source.tag(joint, t).fill(g, rect, tags + t * area, patch);
  u64 best = 0;
  for_pixels(g, rect.width(), rect.height(), [&](int x, int y) {
    const int i = y * rect.width() + x;
    const float distance = tag_distance(parts, [&](int t) { return tags[t * area + i] - mean[t]; });
    const float value = heat[i] - rintf(distance);
    if (!finite(heat[i]) || !finite(value)) return;
    const u64 key = score_key(value, (u32)((rect.y0 + y) * source.width + rect.x0 + x));
    if (key > best) best = key;
  });
  return g.max(best);
}

// First pixel, in row-major order, of the largest h - round(|tag - mean|), as a key; 0: none. Tiles are visited best
// bound first. Where the bound of a tile with unknown tags comes first, the tags of all tiles that could still win
// are learned, for this person and the next.
template <class Group, class Source>
JP_FN u64 search_map(const Group& g, const Source& source, const Tiles& tiles, int joint, const float* mean,
                     float warm, float* buffer) {
  const int w = source.width, h = source.height, n = tile_count(w, h), parts = source.components;
  for (int t = g.rank(); t < n; t += g.size()) {
    const Rect rect = tile_rect(t, w, h);
    if (!tiles.known[t] && tiles.heat[t] > warm) learn_tags(source, tiles, joint, t, rect);
    tiles.keys[t] = bound_key(tiles, t, rect, w, mean, parts);
  }
  u64 best = 0;
  for (;;) {
    u64 top = 0;
    for (int t = g.rank(); t < n; t += g.size()) top = tiles.keys[t] > top ? tiles.keys[t] : top;
    const u64 highest = g.max(top);
    if (highest <= best) return best;
    // A tile's key holds the place of its first pixel, and so says which tile it is.
    const int position = (int)key_position(highest);
    const int tile = position / w / kTile * tiles_across(w) + position % w / kTile;
    if (tiles.known[tile]) {
      const u64 found = search_tile(g, source, joint, tile_rect(tile, w, h), mean, buffer);
      if (found > best) best = found;
      if (g.rank() == tile % g.size()) tiles.keys[tile] = 0;
    } else {
      g.sync();  // all have read known[tile]
      for (int t = g.rank(); t < n; t += g.size())
        if (!tiles.known[t] && tiles.keys[t] > best) {
          const Rect rect = tile_rect(t, w, h);
          learn_tags(source, tiles, joint, t, rect);
          tiles.keys[t] = bound_key(tiles, t, rect, w, mean, parts);
        }
    }
    g.sync();
  }
}

// Finds one joint for all people that miss it. warm: tiles above it are worth learning at once.
template <class Group, class Source>
JP_FN void refine_joint(const Group& g, const Params& p, const Source& source, const Tiles& tiles, int joint,
                        const People& people, int count, const float* mean, float* buffer) {
  const auto plane = source.heat(joint);
  const int n = tile_count(source.width, source.height);
  for (int t = g.rank(); t < n; t += g.size()) tiles.known[t] = 0;
  for (int person = 0; person < count; ++person) {
    float* point = people.keypoints + ((i64)person * p.joints + joint) * 3;
    const bool missing = !(point[2] > 0);
    g.sync();  // all have read the score before it is written
    if (!missing) continue;
    const u64 key = search_map(g, source, tiles, joint, mean + (i64)person * p.components,
                               (float)(0.25 * p.threshold), buffer);
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
