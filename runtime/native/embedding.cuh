// Associative embedding: heatmaps and tags to people (Newell et al. 2017; HigherHRNet, Cheng et al. 2020).
//
//   find_peaks     per joint: suppression and top-k          embedding_peaks.cuh
//   group_people   all joints: assignment by tags            embedding_group.cuh, assignment.cuh
//   finish_people  quarter shift, scores, the people's tags  embedding_refine.cuh
//   refine_joint   per joint: the people that miss it        embedding_refine.cuh
// All over a source, embedding_maps.cuh: materialised maps or the network's outputs. Non-finite values of a heatmap
// are passed over; a peak with a non-finite tag is none.
#pragma once
#include "embedding_refine.cuh"

namespace jetpose {
namespace embedding {

constexpr int kBuffer = kMaxRect * kMaxRect + kPatch + kTile * kTile * (kMaxComponents + 1);

// Scratch memory of one image. What a joint owns is apart, so that joints can run at the same time.
struct Work {
  u64* lists;     // (joints, lanes, max_people)
  u64* peaks;     // (joints, max_people)
  int* counts;    // (joints,)
  float* bounds;  // (joints, tiles)
  float* low;     // (joints, components, tiles)
  float* high;    // (joints, components, tiles)
  u8* known;      // (joints, tiles)
  float* values;  // (joints, tiles)
  u32* wanted;    // (joints, tiles)
  float* buffer;  // (joints, kBuffer)
  Grouping* grouping;
  Members members;
  float* mean;  // (capacity, components)
};

template <class Group, class Source>
JP_FN void peaks_of_joint(const Group& g, const Params& p, const Source& source, const Work& work, int joint) {
  const int tiles = tile_count(source.width, source.height);
  const int count = find_peaks(g, source.heat(joint), float_limit(p.threshold), p.window, p.max_people,
                               work.bounds + (i64)joint * tiles, work.lists + (i64)joint * g.size() * p.max_people,
                               work.buffer + (i64)joint * kBuffer, work.peaks + (i64)joint * p.max_people);
  if (g.rank() == 0) work.counts[joint] = count;
  g.sync();
}

template <class Group, class Source>
JP_FN int people_of_image(const Group& g, const Params& p, const Source& source, const Work& work,
                          const People& people) {
  const int count =
      group_people(g, p, source, work.peaks, work.counts, people, work.members, *work.grouping);
  finish_people(g, p, source, people, count, work.mean);
  return count;
}

template <class Group, class Source>
JP_FN void missing_of_joint(const Group& g, const Params& p, const Source& source, const Work& work, int joint,
                            const People& people, int count) {
  const i64 first = (i64)joint * tile_count(source.width, source.height);
  const Tiles tiles{tile_count(source.width, source.height), work.bounds + first, work.low + first * p.components,
                    work.high + first * p.components,               work.known + first,  work.values + first,
                    work.wanted + first};
  refine_joint(g, p, source, tiles, joint, people, count, work.mean, work.buffer + (i64)joint * kBuffer);
}

// One image by one group; returns the number of people, at most people_capacity(p).
template <class Group, class Source>
JP_FN int decode(const Group& g, const Params& p, const Source& source, const Work& work, const People& people) {
  for (int joint = 0; joint < p.joints; ++joint) peaks_of_joint(g, p, source, work, joint);
  const int count = people_of_image(g, p, source, work, people);
  if (p.refine)
    for (int joint = 0; joint < p.joints; ++joint) missing_of_joint(g, p, source, work, joint, people, count);
  return count;
}

}  // namespace embedding
}  // namespace jetpose
