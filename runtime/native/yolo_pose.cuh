// Ultralytics' pose networks: boxes and keypoints of everyone, in input pixels; nms.cuh chooses among them.
//
//   anchors      (4 + C + 3K, count): centre x, centre y, width, height, C classes, then x, y, visibility per keypoint
//   end to end   (count, 6 + 3K): left, top, right, bottom, score, class, then the same
#pragma once
#include "nms.cuh"

namespace jetpose {
namespace yolo_pose {

using nms::Box;

struct Source {
  const float* values;
  int count, keypoints;
  int classes;     // of the anchors; class 0 is the person
  int end_to_end;  // the second layout

  JP_FN int joints() const { return keypoints; }
  JP_FN int rows() const { return end_to_end ? 6 + 3 * keypoints : 4 + classes + 3 * keypoints; }

  JP_FN float at(int row, int anchor) const {
    return end_to_end ? values[(i64)anchor * rows() + row] : values[(i64)row * count + anchor];
  }

  // An anchor stands for its best class, the first of equal ones.
  JP_FN float score(int i) const {
    const float person = at(4, i);
    if (end_to_end) return at(5, i) == 0.0f ? person : 0.0f;
    for (int c = 1; c < classes; ++c)
      if (at(4 + c, i) > person) return 0.0f;
    return person;
  }

  JP_FN Box box(int i) const {
    const float a = at(0, i), b = at(1, i), c = at(2, i), d = at(3, i);
    if (end_to_end) return {a, b, c, d};
    const float half_w = 0.5f * c, half_h = 0.5f * d;
    return {a - half_w, b - half_h, a + half_w, b + half_h};
  }

  JP_FN void joint(int i, int k, float, float* out) const {
    const int row = rows() - 3 * (keypoints - k);
    for (int j = 0; j < 3; ++j) out[j] = at(row + j, i);
  }
};

}  // namespace yolo_pose
}  // namespace jetpose
