// The memory that part-affinity-field decoding of one image needs, in one place for the CPU build, the launch plans and
// the GPU tests. Memory has take<T>(count): room for that many values, undefined.
#pragma once
#include <cstddef>

#include "paf.cuh"

namespace jetpose {
namespace paf {

template <class Memory>
Peaks peaks_memory(Memory& memory, const Params& p) {
  const std::size_t n = (std::size_t)p.parts * p.max_peaks;
  Peaks peaks{};
  peaks.points = memory.template take<float>(n * 3);
  peaks.cells = memory.template take<int>(n * 2);
  peaks.searched = memory.template take<float>(n);
  peaks.counts = memory.template take<int>(p.parts);
  return peaks;
}

template <class Memory>
Connections connections_memory(Memory& memory, const Params& p) {
  const std::size_t n = (std::size_t)p.limbs * p.max_peaks;
  Connections connections{};
  connections.pairs = memory.template take<int>(n * 2);
  connections.scores = memory.template take<float>(n);
  connections.counts = memory.template take<int>(p.limbs);
  return connections;
}

// All but keypoints, scores and total, which are the caller's.
template <class Memory>
People people_memory(Memory& memory, const Params& p) {
  People people{};
  people.ids = memory.template take<int>((std::size_t)p.max_people * p.parts);
  people.sums = memory.template take<double>(p.max_people);
  people.parts = memory.template take<int>(p.max_people);
  return people;
}

struct Work {
  PeakMemory peaks;  // of all parts that are searched at the same time, one after another
  LimbArrays limbs;
  PeopleMemory people;
};

// parts, limbs: how many are worked on at the same time; 1 on a CPU, all on a GPU.
template <class Memory>
Work work_memory(Memory& memory, const Params& p, const Sampling& s, std::size_t parts, std::size_t limbs) {
  const bool optimal = p.profile == kTrtPose;  // it searches the maps as they are, and assembles by a graph
  const std::size_t m = p.max_peaks, k = p.parts, links = optimal ? 0 : p.limbs * m;
  Work w{};
  w.peaks.tile = memory.template take<float>(optimal ? 0 : parts * tile_memory(s));
  w.peaks.keys = memory.template take<u64>(optimal ? 0 : parts * key_memory(p));
  w.peaks.spare = memory.template take<u64>(optimal ? 0 : parts * key_memory(p));
  w.limbs.keys = memory.template take<u64>(optimal ? 0 : limbs * m * m);
  w.limbs.spare = memory.template take<u64>(optimal ? 0 : limbs * m * m);
  w.limbs.floats = memory.template take<float>(optimal ? limbs * (m * m + 3 * m) : 0);
  w.limbs.ints = memory.template take<int>(optimal ? limbs * 3 * m : 0);
  w.limbs.marks = memory.template take<u8>(limbs * 3 * m);
  w.people.crowd.ids = memory.template take<int>(links * k);
  w.people.crowd.sums = memory.template take<double>(links);
  w.people.crowd.parts = memory.template take<int>(links);
  w.people.crowd.keys = memory.template take<u64>(links);
  w.people.crowd.spare = memory.template take<u64>(links);
  w.people.crowd.offsets = memory.template take<int>(k + 1);
  w.people.graph.partner = memory.template take<int>(optimal ? 2 * p.limbs * m : 0);
  w.people.graph.queue = memory.template take<int>(optimal ? k * m : 0);
  w.people.graph.seen = memory.template take<u8>(optimal ? k * m : 0);
  return w;
}

}  // namespace paf
}  // namespace jetpose
