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
  u32* wanted;    // the people of the batch, one bit each, that need the tile's pixels
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
JP_FN float gap_to(float mean, float low, float high) {
  return mean < low ? low - mean : mean > high ? mean - high : 0.0f;
}
template <class Group>
JP_FN void bound_tiles(const Group& g, const Tiles& tiles, int components, const float* mean) {
  for (int t = 0; t < components; ++t) {
    const float* low = tiles.low + t * tiles.count;
    const float* high = tiles.high + t * tiles.count;
    for (int i = g.rank(); i < tiles.count; i += g.size()) {
      const float gap = gap_to(mean[t], low[i], high[i]);
      tiles.bounds[i] = (t > 0 ? tiles.bounds[i] : 0.0f) + gap * gap;
    }
  }
  for (int i = g.rank(); i < tiles.count; i += g.size())
    tiles.bounds[i] = tiles.heat[i] - rintf(sqrtf(tiles.bounds[i]));
}
JP_FN void bound_tile(const Tiles& tiles, int components, const float* mean, int i) {
  float sum = 0;
  for (int t = 0; t < components; ++t) {
    const float gap = gap_to(mean[t], tiles.low[t * tiles.count + i], tiles.high[t * tiles.count + i]);
    sum += gap * gap;
  }
  tiles.bounds[i] = tiles.heat[i] - rintf(sqrtf(sum));
}

// values = h - round(|tag - mean|), -infinity where it is not finite.
//   tags  components x n;  parts: the number of components if the compiler shall know it, else 0
template <int parts, class Group>
JP_FN void score_pixels(const Group& g, int n, int components, const float* mean, const float* heat, const float* tags,
                        float* values) {
  for (int i = g.rank(); i < n; i += g.size()) {
    float sum = 0;
    for (int t = 0; t < (parts ? parts : components); ++t) {
      const float d = tags[t * n + i] - mean[t];
      sum += d * d;
    }
    const float value = heat[i] - rintf(sqrtf(sum));
    values[i] = heat[i] - heat[i] == 0 && value - value == 0 ? value : negative_infinity();
  }
}

// The pixels of one tile.
struct Pixels {
  float* heat;    // kTile^2
  float* values;  // kTile^2
  float* patch;   // kPatch
  float* tags;    // kTile^2 per component
};

template <class Group, class Source>
JP_FN void load_tile(const Group& g, const Source& source, int joint, const Rect& rect, const Pixels& pixels) {
  source.heat(joint).fill(g, rect, pixels.heat, pixels.patch);
  const int n = rect.width() * rect.height();
  for (int t = 0; t < source.components; ++t)
    source.tag(joint, t).fill(g, rect, pixels.tags + t * n, pixels.patch);
}

// Raises `best` to the key of the loaded tile's best pixel, for all lanes.
template <class Group, class Source>
JP_FN void search_tile(const Group& g, const Source& source, const Rect& rect, const Pixels& pixels, const float* mean,
                       u64& best) {
  const int n = rect.width() * rect.height(), parts = source.components;
  float* values = pixels.values;
  if (parts == 1)
    score_pixels<1>(g, n, parts, mean, pixels.heat, pixels.tags, values);
  else if (parts == 2)
    score_pixels<2>(g, n, parts, mean, pixels.heat, pixels.tags, values);
  else
    score_pixels<0>(g, n, parts, mean, pixels.heat, pixels.tags, values);
  g.sync();
  if constexpr (Group::serial)
    if (best != 0 && max_of(values, n) < key_score(best)) return;
  const Peak peak = argmax(g, values, n);
  g.sync();
  if (peak.value == negative_infinity()) return;
  const int x = rect.x0 + peak.index % rect.width(), y = rect.y0 + peak.index / rect.width();
  const u64 key = score_key(peak.value, (u32)(y * source.width + x));
  if (key > best) best = key;
}

// A first answer for one person: searches the tiles with the best bounds, as long as that is worth while.
template <class Group, class Source>
JP_FN void search_likely(const Group& g, const Source& source, const Tiles& tiles, int joint, const float* mean,
                         const Pixels& pixels, u64& best) {
  constexpr int kLikely = 4;
  for (int i = 0; i < kLikely; ++i) {
    const Peak top = argmax(g, tiles.bounds, tiles.count);
    if (top.value == negative_infinity() || !tiles.known[top.index] || (best && top.value < key_score(best))) return;
    const Rect rect = tile_rect(top.index, source.width, source.height);
    load_tile(g, source, joint, rect, pixels);
    search_tile(g, source, rect, pixels, mean, best);
    if (g.rank() == 0) tiles.bounds[top.index] = negative_infinity();
    g.sync();
  }
}

// Learns the tags of the tiles that may hold a better pixel than `best`; true, for all lanes, if there were any.
template <class Group, class Source>
JP_FN bool learn_tags(const Group& g, const Source& source, const Tiles& tiles, int joint, const float* mean,
                      u64 best) {
  u64 learned = 0;
  g.sync();  // all have read known[]
  for (int i = g.rank(); i < tiles.count; i += g.size()) {
    if (tiles.known[i] || (best && tiles.bounds[i] < key_score(best))) continue;
    learn_tile(source, tiles, joint, i);
    bound_tile(tiles, source.components, mean, i);
    learned = 1;
  }
  return g.max(learned) != 0;
}

// Marks the tiles that may still hold a better pixel than `best`.
template <class Group>
JP_FN void mark_tiles(const Group& g, const Tiles& tiles, u64 best, u32 bit) {
  const float least = best ? key_score(best) : negative_infinity();
  for (int i = g.rank(); i < tiles.count; i += g.size())
    if (tiles.bounds[i] >= least && tiles.bounds[i] != negative_infinity()) tiles.wanted[i] |= bit;
  g.sync();
}

// First pixel, in row-major order, of the largest h - round(|tag - mean|) for each of at most 32 people, as a key;
// 0: none. A tile that several people need is resized and read once.
template <class Group, class Source>
JP_FN void search_map(const Group& g, const Source& source, const Tiles& tiles, int joint, const float* means,
                      const int* who, int count, const Pixels& pixels, u64* best) {
  for (int i = g.rank(); i < tiles.count; i += g.size()) tiles.wanted[i] = 0;
  for (int i = 0; i < count; ++i) {
    const float* mean = means + (i64)who[i] * source.components;
    bound_tiles(g, tiles, source.components, mean);
    g.sync();
    best[i] = 0;
    search_likely(g, source, tiles, joint, mean, pixels, best[i]);
    if (learn_tags(g, source, tiles, joint, mean, best[i]))
      search_likely(g, source, tiles, joint, mean, pixels, best[i]);
    mark_tiles(g, tiles, best[i], 1u << i);
  }
  for (int tile = 0; tile < tiles.count; ++tile) {
    const u32 wanted = tiles.wanted[tile];
    if (!wanted) continue;  // the same for all lanes
    const Rect rect = tile_rect(tile, source.width, source.height);
    load_tile(g, source, joint, rect, pixels);
    for (int i = 0; i < count; ++i)
      if (wanted >> i & 1) search_tile(g, source, rect, pixels, means + (i64)who[i] * source.components, best[i]);
    g.sync();
  }
}

template <class Source>
JP_FN void place(const Params& p, const Source& source, int joint, u64 key, float* point) {
  const auto plane = source.heat(joint);
  const int position = (int)key_position(key), x = position % source.width, y = position / source.width;
  const float value = plane.at(x, y);
  if (!(value > 0)) return;
  point[0] = x + 0.5f + quarter_x(plane, x, y);
  point[1] = y + 0.5f + quarter_y(plane, x, y);
  point[2] = p.refined_one ? 1.0f : value;
}

// Finds one joint for all people that miss it, in batches.
//   buffer  kTile^2 (2 + components) + kPatch values
template <class Group, class Source>
JP_FN void refine_joint(const Group& g, const Params& p, const Source& source, const Tiles& tiles, int joint,
                        const People& people, int count, const float* means, float* buffer) {
  constexpr int kBatch = 32, kArea = kTile * kTile;
  const Pixels pixels{buffer, buffer + kArea, buffer + 2 * kArea, buffer + 2 * kArea + kPatch};
  float* points = people.keypoints + joint * 3;
  const i64 stride = (i64)p.joints * 3;
  bool started = false;
  for (int person = 0; person < count;) {
    int who[kBatch], missing = 0;
    for (; person < count && missing < kBatch; ++person)
      if (!(points[person * stride + 2] > 0)) who[missing++] = person;
    g.sync();  // all have read the scores before they are written
    if (missing == 0) break;
    if (!started) start_tiles(g, source, tiles, joint, (float)(0.25 * p.threshold));
    started = true;
    u64 best[kBatch];
    search_map(g, source, tiles, joint, means, who, missing, pixels, best);
    for (int i = g.rank(); i < missing; i += g.size())
      if (best[i] != 0) place(p, source, joint, best[i], points + who[i] * stride);
  }
  g.sync();
}

}  // namespace embedding
}  // namespace jetpose
