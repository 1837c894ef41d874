// From connections to people.
//
//   lightweight  a connection goes to every person that holds its peak a; limbs that only match fill empty slots
//   openpose     a connection joins a person that holds either end, or merges two that share no part (the classic
//   tf_pose      Python rules); tf_pose takes peak 0 for an empty slot when it asks whether two people share a part
//   trt_pose     each connected component is a person, lone peaks too; a second peak of one part replaces the first
// More than P people: the P best by score stay, in their order; of trt_pose the first P.
#pragma once
#include "paf_types.cuh"

namespace jetpose {
namespace paf {

// People while they are put together, of which there are never more than connections.
struct Crowd {
  int* ids;      // (limbs * M, K)
  double* sums;  // (limbs * M)
  int* parts;    // (limbs * M)
  u64 *keys, *spare;  // limbs * M each
  int* offsets;  // (K + 1) ids of each part's first peak
  int count;
};

// One connection with the ids of its ends.
struct Link {
  int a, b;  // parts
  int id_a, id_b;
  double score, score_a, score_b;
  bool matching_only;
};

JP_FN Link make_link(const Params& p, const Limb& limb, int index, int i, const Peaks& peaks, const Connections& c,
                     const int* offsets) {
  const i64 at = (i64)index * p.max_peaks + i;
  const int peak_a = c.pairs[2 * at], peak_b = c.pairs[2 * at + 1];
  Link link;
  link.a = limb.a;
  link.b = limb.b;
  link.id_a = offsets[limb.a] + peak_a;
  link.id_b = offsets[limb.b] + peak_b;
  link.score = c.scores[at];
  link.score_a = peaks.points[3 * ((i64)limb.a * p.max_peaks + peak_a) + 2];
  link.score_b = peaks.points[3 * ((i64)limb.b * p.max_peaks + peak_b) + 2];
  link.matching_only = limb.matching_only != 0;
  return link;
}

template <class Group>
JP_FN void add_person(const Group& g, const Params& p, Crowd& crowd, const Link& link) {
  if (g.rank() == 0) {
    int* ids = crowd.ids + (i64)crowd.count * p.parts;
    for (int k = 0; k < p.parts; ++k) ids[k] = -1;
    ids[link.a] = link.id_a;
    ids[link.b] = link.id_b;
    crowd.sums[crowd.count] = link.score_a + link.score_b + link.score;
    crowd.parts[crowd.count] = 2;
  }
  ++crowd.count;
  g.sync();
}

template <class Group>
JP_FN void join_lightweight(const Group& g, const Params& p, Crowd& crowd, const Link& link) {
  int mine = 0, total;
  for (int j = g.rank(); j < crowd.count; j += g.size()) {
    int* ids = crowd.ids + (i64)j * p.parts;
    if (link.matching_only) {
      if (ids[link.a] == link.id_a && ids[link.b] == -1) {
        ids[link.b] = link.id_b;
      } else if (ids[link.b] == link.id_b && ids[link.a] == -1) {
        ids[link.a] = link.id_a;
      }
    } else if (ids[link.a] == link.id_a) {
      ids[link.b] = link.id_b;
      crowd.sums[j] += link.score_b + link.score;
      ++crowd.parts[j];
      ++mine;
    }
  }
  g.scan(mine, total);
  if (total == 0 && !link.matching_only) add_person(g, p, crowd, link);
}

// The first person from `from` on that holds either end of the link; -1: none.
template <class Group>
JP_FN int find_person(const Group& g, const Params& p, const Crowd& crowd, const Link& link, int from) {
  u64 best = 0;  // count - j, so that the first is the largest
  for (int j = from + g.rank(); j < crowd.count && best == 0; j += g.size()) {
    const int* ids = crowd.ids + (i64)j * p.parts;
    if (ids[link.a] == link.id_a || ids[link.b] == link.id_b) best = (u64)(crowd.count - j);
  }
  best = g.max(best);
  return best ? crowd.count - (int)best : -1;
}

JP_FN bool share_a_part(const Params& p, const int* first, const int* second) {
  const int lowest = p.profile == kTfPose ? 1 : 0;  // its authors ask id > 0
  for (int k = 0; k < p.parts; ++k)
    if (first[k] >= lowest && second[k] >= lowest) return true;
  return false;
}

// Adds the second person to the first and closes the gap. Ids are added plus one, as the authors do: -1 leaves the
// other's id; only tf_pose's peak 0 meets another id, and then names the peak after it. One lane.
JP_FN void merge(const Params& p, Crowd& crowd, int first, int second, double score) {
  int* ids = crowd.ids + (i64)first * p.parts;
  const int* from = crowd.ids + (i64)second * p.parts;
  for (int k = 0; k < p.parts; ++k) ids[k] += from[k] + 1;
  crowd.sums[first] += crowd.sums[second] + score;
  crowd.parts[first] += crowd.parts[second];
  for (int j = second; j + 1 < crowd.count; ++j) {
    for (int k = 0; k < p.parts; ++k) crowd.ids[(i64)j * p.parts + k] = crowd.ids[(i64)(j + 1) * p.parts + k];
    crowd.sums[j] = crowd.sums[j + 1];
    crowd.parts[j] = crowd.parts[j + 1];
  }
}

template <class Group>
JP_FN void join_classic(const Group& g, const Params& p, Crowd& crowd, const Link& link) {
  const int first = find_person(g, p, crowd, link, 0);
  if (first < 0) {
    if (!link.matching_only) add_person(g, p, crowd, link);
    return;
  }
  const int second = find_person(g, p, crowd, link, first + 1);
  int* ids = crowd.ids + (i64)first * p.parts;
  const bool merges = second >= 0 && !share_a_part(p, ids, crowd.ids + (i64)second * p.parts);
  g.sync();
  if (g.rank() == 0) {
    if (merges) {
      merge(p, crowd, first, second, link.score);
    } else if (second >= 0 || ids[link.b] != link.id_b) {
      ids[link.b] = link.id_b;
      crowd.sums[first] += link.score_b + link.score;
      ++crowd.parts[first];
    }
  }
  if (merges) --crowd.count;
  g.sync();
}

// ---- trt_pose -----------------------------------------------------------------------------------------------

struct Graph {
  int* partner;  // (limbs, 2, M) index of the peak at the other end, or -1
  int* queue;    // (K * M) global peak numbers part * M + index
  u8* seen;      // (K * M)
};

template <class Group>
JP_FN void link_partners(const Group& g, const Params& p, const Connections& c, const Graph& graph) {
  const int m = p.max_peaks;
  for (int i = g.rank(); i < p.limbs * 2 * m; i += g.size()) graph.partner[i] = -1;
  for (int i = g.rank(); i < p.parts * m; i += g.size()) graph.seen[i] = 0;
  g.sync();
  for (int l = g.rank(); l < p.limbs; l += g.size()) {
    int* partner = graph.partner + (i64)l * 2 * m;
    for (int i = 0; i < c.counts[l]; ++i) {
      const int* pair = c.pairs + 2 * ((i64)l * m + i);
      partner[pair[0]] = pair[1];
      partner[m + pair[1]] = pair[0];
    }
  }
  g.sync();
}

// The component of one peak, breadth first, written into ids. One lane.
JP_FN void walk_component(const Params& p, const Limb* limbs, const Graph& graph, const int* offsets, int start,
                          int* ids) {
  const int m = p.max_peaks;
  for (int k = 0; k < p.parts; ++k) ids[k] = -1;
  int head = 0, tail = 0;
  graph.queue[tail++] = start;
  graph.seen[start] = 1;
  while (head < tail) {
    const int part = graph.queue[head] / m, index = graph.queue[head] % m;
    ++head;
    ids[part] = offsets[part] + index;
    for (int l = 0; l < p.limbs; ++l)
      for (int end = 0; end < 2; ++end) {
        if ((end ? limbs[l].b : limbs[l].a) != part) continue;
        const int other = graph.partner[((i64)l * 2 + end) * m + index];
        if (other < 0) continue;
        const int next = (end ? limbs[l].a : limbs[l].b) * m + other;
        if (graph.seen[next]) continue;
        graph.seen[next] = 1;
        graph.queue[tail++] = next;
      }
  }
}

template <class Group>
JP_FN int walk_graph(const Group& g, const Params& p, const Limb* limbs, const Peaks& peaks, const Connections& c,
                     const Graph& graph, const int* offsets, const People& out) {
  link_partners(g, p, c, graph);
  int count = 0;
  if (g.rank() == 0)
    for (int k = 0; k < p.parts; ++k)
      for (int i = 0; i < peaks.counts[k] && count < p.max_people; ++i)
        if (!graph.seen[k * p.max_peaks + i])
          walk_component(p, limbs, graph, offsets, k * p.max_peaks + i, out.ids + (i64)count++ * p.parts);
  return (int)g.max((u64)count);
}

// ---- results ------------------------------------------------------------------------------------------------

// lightweight: the score it gives COCO; trt_pose: share of the parts found; else the mean over the parts.
JP_FN float person_score(const Params& p, double sum, int parts) {
  if (p.profile == kTrtPose) return (float)parts / (float)p.parts;
  if (p.profile == kLightweight) return (float)(sum * (parts > 1 ? parts - 1 : 0));
  return (float)(sum / parts);
}

// Leaves out who is too small or too weak, keeps the best max_people in their order; keys become their numbers.
template <class Group>
JP_FN int select_people(const Group& g, const Params& p, const Crowd& crowd) {
  int count = 0;
  for (int base = 0; base < crowd.count; base += g.size()) {
    const int j = base + g.rank();
    const bool good = j < crowd.count && crowd.parts[j] >= p.min_parts &&
                      crowd.sums[j] / crowd.parts[j] >= (double)p.min_score;
    int total;
    const int at = count + g.scan(good, total);
    if (good) crowd.keys[at] = score_key(person_score(p, crowd.sums[j], crowd.parts[j]), (u32)j);
    count += total;
  }
  g.sync();
  if (count <= p.max_people) return count;
  sort_descending(g, crowd.keys, crowd.spare, count);
  for (int i = g.rank(); i < p.max_people; i += g.size()) crowd.keys[i] = crowd.keys[i] << 32 | (u32)crowd.keys[i];
  g.sync();
  sort_descending(g, crowd.keys, crowd.spare, p.max_people);
  return p.max_people;
}

template <class Group>
JP_FN void write_people(const Group& g, const Params& p, const Peaks& peaks, const int* offsets, int count,
                        const People& out) {
  for (int i = g.rank(); i < count * p.parts; i += g.size()) {
    const int id = out.ids[i];
    float* point = out.keypoints + 3 * (i64)i;
    point[0] = point[1] = not_a_number();
    point[2] = 0;
    if (id < 0) continue;
    int k = 0;
    while (k + 1 < p.parts && offsets[k + 1] <= id) ++k;
    const float* peak = peaks.points + 3 * ((i64)k * p.max_peaks + id - offsets[k]);
    for (int c = 0; c < 3; ++c) point[c] = peak[c];
  }
  for (int i = g.rank(); i < count; i += g.size()) out.scores[i] = person_score(p, out.sums[i], out.parts[i]);
  if (g.rank() == 0) *out.total = count;
  g.sync();
}

struct PeopleMemory {
  Crowd crowd;
  Graph graph;  // trt_pose
};

template <class Group>
JP_FN void assemble(const Group& g, const Params& p, const Limb* limbs, const Peaks& peaks, const Connections& c,
                    const PeopleMemory& memory, const People& out) {
  Crowd crowd = memory.crowd;
  crowd.count = 0;
  if (g.rank() == 0) {
    crowd.offsets[0] = 0;
    for (int k = 0; k < p.parts; ++k) crowd.offsets[k + 1] = crowd.offsets[k] + peaks.counts[k];
  }
  g.sync();
  if (p.profile == kTrtPose) {
    const int count = walk_graph(g, p, limbs, peaks, c, memory.graph, crowd.offsets, out);
    for (int i = g.rank(); i < count; i += g.size()) {
      out.parts[i] = 0;
      for (int k = 0; k < p.parts; ++k) out.parts[i] += out.ids[(i64)i * p.parts + k] >= 0;
      out.sums[i] = out.parts[i];
    }
    g.sync();
    write_people(g, p, peaks, crowd.offsets, count, out);
    return;
  }
  for (int l = 0; l < p.limbs; ++l)
    for (int i = 0; i < c.counts[l]; ++i) {
      const Link link = make_link(p, limbs[l], l, i, peaks, c, crowd.offsets);
      if (p.profile == kLightweight) {
        join_lightweight(g, p, crowd, link);
      } else {
        join_classic(g, p, crowd, link);
      }
    }
  g.sync();
  const int count = select_people(g, p, crowd);
  for (int i = g.rank(); i < count; i += g.size()) {
    const i64 j = key_position(crowd.keys[i]);
    for (int k = 0; k < p.parts; ++k) out.ids[(i64)i * p.parts + k] = crowd.ids[j * p.parts + k];
    out.sums[i] = crowd.sums[j];
    out.parts[i] = crowd.parts[j];
  }
  g.sync();
  write_people(g, p, peaks, crowd.offsets, count, out);
}

}  // namespace paf
}  // namespace jetpose
