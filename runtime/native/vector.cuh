// DeepPose (Toshev & Szegedy 2014, arXiv 1312.4659): a network regresses normalised coordinates of every joint.
//
//   place   y = box centre + v * box size (N^-1 of the paper); measured from the box's corner: mmpose's 0..1 labels.
//           A cascade's displacement is the same with a box around each joint's last estimate.
//   boxes   of a cascade's next stage: squares of sigma * diam around every joint, diam the distance of two opposite
//           torso joints
#pragma once
#include "group.cuh"

namespace jetpose {
namespace vector {

struct Box {
  float x, y, width, height;  // of the centre
};

// values (count, 2), boxes (count), out (count, 3) x, y, score. A value or a box that is not finite is a missing
// keypoint: NaN, NaN, 0.
template <class Group>
JP_FN void place(const Group& g, const float* values, const Box* boxes, int from_corner, int count, float* out) {
  for (int i = g.rank(); i < count; i += g.size()) {
    const Box b = boxes[i];
    const float origin = from_corner ? 0.5f : 0.0f;
    const float x = b.x + (values[2 * i] - origin) * b.width, y = b.y + (values[2 * i + 1] - origin) * b.height;
    const bool found = finite(x) && finite(y);
    const float nan = negative_infinity() - negative_infinity();
    out[3 * i] = found ? x : nan;
    out[3 * i + 1] = found ? y : nan;
    out[3 * i + 2] = found ? 1.0f : 0.0f;
  }
  g.sync();
}

// keypoints (joints, 3) of one person; boxes (joints). A missing keypoint's box, and every box where a torso joint is
// missing, is NaN.
template <class Group>
JP_FN void boxes(const Group& g, const float* keypoints, int joints, int first, int second, float sigma, Box* out) {
  const float *a = keypoints + 3 * first, *b = keypoints + 3 * second;
  const float dx = a[0] - b[0], dy = a[1] - b[1];
  const float side = sigma * sqrtf(dx * dx + dy * dy);
  for (int i = g.rank(); i < joints; i += g.size()) out[i] = {keypoints[3 * i], keypoints[3 * i + 1], side, side};
  g.sync();
}

}  // namespace vector
}  // namespace jetpose
