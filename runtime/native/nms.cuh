// Non-maximum suppression of boxes: the greedy rule of torchvision.ops.nms, stopped after max_people.
//
//   The best box that is left is taken; boxes of which the overlap with it (intersection over union) is above max_iou
//   are dropped; and so on. Equal scores: the lower anchor first.
//
// One look over the candidates per person finds the next best and drops what the last one overlaps: nothing is sorted,
// and no number of candidates is too many.
//
// A Source offers, for each of `count` anchors,
//   float score(int anchor)                    anything not above min_score, or NaN, is nobody
//   Box box(int anchor)                        asked for candidates only
//   int joints()
//   void joint(int anchor, int k, float score, float* out)  x, y, score of a keypoint
#pragma once
#include "group.cuh"

namespace jetpose {
namespace nms {

struct Box {
  float left, top, right, bottom;
};

struct Params {
  float min_score, max_iou;
  int max_people;
};

// Scratch: keys, boxes and anchors hold one value per anchor of the source, kept max_people.
struct Memory {
  u64* keys;
  Box* boxes;
  int *anchors, *kept;
};

struct People {
  float* scores;     // (max_people)
  float* keypoints;  // (max_people, joints, 3)
};

JP_FN float area(const Box& b) { return (b.right - b.left) * (b.bottom - b.top); }

JP_FN float iou(const Box& a, const Box& b) {
  const float left = a.left > b.left ? a.left : b.left, right = a.right < b.right ? a.right : b.right;
  const float top = a.top > b.top ? a.top : b.top, bottom = a.bottom < b.bottom ? a.bottom : b.bottom;
  const float width = right > left ? right - left : 0.0f, height = bottom > top ? bottom - top : 0.0f;
  const float both = width * height;
  return both / (area(a) + area(b) - both);
}

// A box that has no area, or is not finite, is nobody's.
JP_FN bool is_real(const Box& b) {
  return finite(b.left) && finite(b.top) && finite(b.right) && finite(b.bottom) && b.right > b.left && b.bottom > b.top;
}

// Packs the candidates, in the order of their anchors; how many there are.
template <class Group, class Source>
JP_FN int collect(const Group& g, const Source& source, const Params& p, const Memory& m) {
  int total = 0;
  for (int start = 0; start < source.count; start += g.size()) {
    const int anchor = start + g.rank();
    float score = 0.0f;
    Box box = {0, 0, 0, 0};
    bool taken = false;
    if (anchor < source.count) {
      score = source.score(anchor);
      if (score > p.min_score && finite(score)) {
        box = source.box(anchor);
        taken = is_real(box);
      }
    }
    int added;
    const int slot = total + g.scan(taken, added);
    if (taken) {
      m.keys[slot] = score_key(score, (u32)slot);
      m.boxes[slot] = box;
      m.anchors[slot] = anchor;
    }
    total += added;
  }
  g.sync();
  return total;
}

// How many people there are, the best first.
template <class Group, class Source>
JP_FN int decode(const Group& g, const Source& source, const Params& p, const Memory& m, const People& out) {
  const int total = collect(g, source, p, m);
  u64 best = 0;
  for (int i = g.rank(); i < total; i += g.size())
    if (m.keys[i] > best) best = m.keys[i];
  best = g.max(best);
  int people = 0;
  while (best != 0 && people < p.max_people) {
    const int slot = (int)key_position(best);
    const Box box = m.boxes[slot];
    if (g.rank() == 0) {
      m.kept[people] = m.anchors[slot];
      out.scores[people] = key_score(best);
    }
    ++people;
    best = 0;
    for (int i = g.rank(); i < total; i += g.size()) {  // a key is touched by one lane only
      if (m.keys[i] == 0) continue;
      if (i == slot || iou(box, m.boxes[i]) > p.max_iou)
        m.keys[i] = 0;
      else if (m.keys[i] > best)
        best = m.keys[i];
    }
    best = g.max(best);
  }
  g.sync();
  const int joints = source.joints();
  for (int i = g.rank(); i < people * joints; i += g.size())
    source.joint(m.kept[i / joints], i % joints, out.scores[i / joints], out.keypoints + 3 * (i64)i);
  g.sync();
  return people;
}

}  // namespace nms
}  // namespace jetpose
