// Joins the peaks of all joints into people by their tags (Newell et al. 2017, arXiv 1611.05424), in the sequence of
// operations of the HigherHRNet code.
#pragma once
#include "assignment.cuh"
#include "embedding_maps.cuh"

namespace jetpose {
namespace embedding {

constexpr int kMaxPeople = assignment::kMaxSize;  // people that can be matched, and peaks per joint
constexpr int kMaxJoints = 64;
constexpr int kMaxComponents = 16;  // of a tag

struct Params {
  int joints, components;
  int order[kMaxJoints];  // in which joints are grouped
  int window;             // of the suppression, pixels; odd
  int max_people;
  double threshold, tag_threshold;
  bool use_detection_val;  // cost 100 round(d) - score instead of d
  bool ignore_too_much;    // joints are skipped once max_people exist
  bool rms;                // tag distance is the root of the mean square, not of the sum
  bool adjust, refine;
  bool refined_one;  // a refined keypoint scores 1, not the map's value
};

// Each joint can add max_people new people.
JP_FN int people_capacity(const Params& p) { return p.joints * p.max_people; }

struct People {
  float* keypoints;  // (capacity, joints, 3) x, y, score
  float* tags;       // (capacity, joints, components)
  float* scores;     // (capacity,)
};

// Memory of the grouping, undefined between calls.
struct Grouping {
  assignment::Problem problem;
  int count;       // people
  int candidates;  // of the joint in hand
  u64 key[kMaxPeople];
  float tag[kMaxPeople * kMaxComponents];
  float mean[kMaxPeople * kMaxComponents];
  double distance[kMaxPeople * kMaxPeople];
};

// Per person: the first component of the first tag, by which the authors tell people apart, and the tags that form
// the mean, in the order they came.
struct Members {
  float* key;   // (capacity,)
  int* count;   // (capacity,) tags so far
  float* tags;  // (capacity, joints + 1, components); one joint can give two: see start_person
};

// Sum of value(0 .. n-1) in NumPy's order: eight running sums from eight values on (n <= 128).
template <class Value>
JP_FN float pairwise_sum(int n, const Value& value) {
  if (n < 8) {
    float sum = 0;
    for (int i = 0; i < n; ++i) sum += value(i);
    return sum;
  }
  float r[8];
  for (int j = 0; j < 8; ++j) r[j] = value(j);
  int i = 8;
  for (; i + 8 <= n; i += 8)
    for (int j = 0; j < 8; ++j) r[j] += value(i + j);
  float sum = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
  for (; i < n; ++i) sum += value(i);
  return sum;
}

// Mean of n tags in float32. np.mean over axis 0 adds rows one by one, unless they are single values.
template <class Value>
JP_FN float mean_of(int n, int components, const Value& value) {
  if (components == 1) return pairwise_sum(n, value) / (float)n;
  float sum = 0;
  for (int i = 0; i < n; ++i) sum += value(i);
  return sum / (float)n;
}

// Fetches the candidates' tags; a candidate without finite tags is dropped.
template <class Group, class Source>
JP_FN void gather(const Group& g, const Params& p, const Source& source, int joint, const u64* keys, int count,
                  Grouping& s) {
  const int w = source.width, parts = p.components;
  for (int i = g.rank(); i < count * parts; i += g.size()) {
    const int position = (int)key_position(keys[i / parts]);
    s.tag[i] = source.tag(joint, i % parts).at(position % w, position / w);
  }
  g.sync();
  if (g.rank() == 0) {
    s.candidates = 0;
    for (int i = 0; i < count; ++i) {
      bool good = true;
      for (int t = 0; t < parts; ++t) good = good && finite(s.tag[i * parts + t]);
      if (!good) continue;
      for (int t = 0; t < parts; ++t) s.tag[s.candidates * parts + t] = s.tag[i * parts + t];
      s.key[s.candidates++] = keys[i];
    }
  }
  g.sync();
}

JP_FN void store(const Params& p, const People& people, const Grouping& s, int width, int person, int joint, int i) {
  float* point = people.keypoints + ((i64)person * p.joints + joint) * 3;
  const int position = (int)key_position(s.key[i]);
  point[0] = (float)(position % width);
  point[1] = (float)(position / width);
  point[2] = key_score(s.key[i]);
  float* tag = people.tags + ((i64)person * p.joints + joint) * p.components;
  for (int t = 0; t < p.components; ++t) tag[t] = s.tag[i * p.components + t];
}

JP_FN void add_tag(const Params& p, const Members& members, const Grouping& s, int person, int i) {
  const int parts = p.components;
  float* tag = members.tags + ((i64)person * (p.joints + 1) + members.count[person]++) * parts;
  for (int t = 0; t < parts; ++t) tag[t] = s.tag[i * parts + t];
}

// A candidate that nobody took starts a person. The authors keep people in a dictionary under the first component of
// the first tag: an equal key writes into that person and starts its tags anew. The person's own candidate of the
// same joint may come after and replace the keypoint; the tag of the first stays in the mean.
JP_FN void start_person(const Params& p, const People& people, const Members& members, Grouping& s, int width,
                        int joint, int i) {
  const float key = s.tag[i * p.components];
  int person = 0;
  while (person < s.count && members.key[person] != key) ++person;
  if (person == s.count) {
    ++s.count;
    members.key[person] = key;
    const i64 first = (i64)person * p.joints;
    for (i64 j = first * 3; j < (first + p.joints) * 3; ++j) people.keypoints[j] = 0;
    for (i64 j = first * p.components; j < (first + p.joints) * p.components; ++j) people.tags[j] = 0;
  }
  store(p, people, s, width, person, joint, i);
  members.count[person] = 0;
  add_tag(p, members, s, person, i);
}

// Distances and costs of all candidates (rows) and the first `grouped` people (columns), padded to a square.
template <class Group>
JP_FN int fill_costs(const Group& g, const Params& p, const Members& members, Grouping& s, int grouped) {
  const int parts = p.components;
  for (int i = g.rank(); i < grouped * parts; i += g.size()) {
    const int person = i / parts;
    const float* tags = members.tags + (i64)person * (p.joints + 1) * parts + i % parts;
    s.mean[i] = mean_of(members.count[person], parts, [&](int j) { return tags[j * parts]; });
  }
  g.sync();
  const int rows = s.candidates, n = rows > grouped ? rows : grouped;
  for_pixels(g, n, n, [&](int column, int row) {
    double cost = row < rows ? 1e10 : 0;
    if (row < rows && column < grouped) {
      double sum = 0;
      for (int t = 0; t < parts; ++t) {
        const double d = (double)s.tag[row * parts + t] - (double)s.mean[column * parts + t];
        sum += d * d;
      }
      double distance = sqrt(p.rms ? sum / parts : sum);
      if (!(distance < 1e30)) distance = 1e30;  // a mean that overflowed
      s.distance[row * kMaxPeople + column] = distance;
      cost = p.use_detection_val ? rint(distance) * 100 - (double)key_score(s.key[row]) : distance;
    }
    s.problem.cost[row * assignment::kMaxSize + column] = cost;
  });
  g.sync();
  return n;
}

// Gives each candidate to the person it was assigned to, if the tags are near, or starts a new one. One lane.
JP_FN void take(const Params& p, const People& people, const Members& members, Grouping& s, int width, int joint,
                int grouped) {
  for (int i = 0; i < s.candidates; ++i) {
    const int person = s.problem.star_in_row[i];
    if (person < grouped && s.distance[i * kMaxPeople + person] < p.tag_threshold) {
      store(p, people, s, width, person, joint, i);
      add_tag(p, members, s, person, i);
    } else {
      start_person(p, people, members, s, width, joint, i);
    }
  }
}

// Groups the peaks keys[joint * max_people ..] into people; returns how many there are.
template <class Group, class Source>
JP_FN int group_people(const Group& g, const Params& p, const Source& source, const u64* keys, const int* counts,
                       const People& people, const Members& members, Grouping& s) {
  if (g.rank() == 0) s.count = 0;
  g.sync();
  for (int step = 0; step < p.joints; ++step) {
    const int joint = p.order[step];
    gather(g, p, source, joint, keys + joint * p.max_people, counts[joint], s);
    const int all = s.count, grouped = all < p.max_people ? all : p.max_people;
    const bool skip = s.candidates == 0 || (p.ignore_too_much && grouped == p.max_people);
    g.sync();  // nobody writes s.count before all have read it
    if (skip) continue;
    if (grouped == 0) {
      if (g.rank() == 0)
        for (int i = 0; i < s.candidates; ++i) start_person(p, people, members, s, source.width, joint, i);
    } else {
      const int n = fill_costs(g, p, members, s, grouped);
      assignment::solve(g, s.problem, n);
      if (g.rank() == 0) take(p, people, members, s, source.width, joint, grouped);
    }
    g.sync();
  }
  return s.count;
}

}  // namespace embedding
}  // namespace jetpose
