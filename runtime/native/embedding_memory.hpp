// The memory that associative embedding of one image needs, in one place for the CPU build, the launch plans and the
// GPU tests. Memory has take<T>(count): room for that many values, undefined.
#pragma once
#include <cstddef>

#include "embedding.cuh"

namespace jetpose {
namespace embedding {

// lanes: of the group; on a GPU the threads of a block.
template <class Memory>
Work work_memory(Memory& memory, const Params& p, int width, int height, int lanes) {
  const std::size_t joints = p.joints, peaks = p.max_people, parts = p.components;
  const std::size_t tiles = joints * tile_count(width, height), capacity = people_capacity(p);
  Work w{};
  w.lists = memory.template take<u64>(joints * lanes * peaks);
  w.peaks = memory.template take<u64>(joints * peaks);
  w.counts = memory.template take<int>(joints);
  w.bounds = memory.template take<float>(tiles);
  w.low = memory.template take<float>(tiles * parts);
  w.high = memory.template take<float>(tiles * parts);
  w.known = memory.template take<u8>(tiles);
  w.values = memory.template take<float>(tiles);
  w.wanted = memory.template take<u32>(tiles);
  w.buffer = memory.template take<float>(joints * kBuffer);
  w.grouping = memory.template take<Grouping>(1);
  w.members.key = memory.template take<float>(capacity);
  w.members.count = memory.template take<int>(capacity);
  w.members.tags = memory.template take<float>(capacity * (joints + 1) * parts);
  w.mean = memory.template take<float>(capacity * parts);
  return w;
}

}  // namespace embedding
}  // namespace jetpose
