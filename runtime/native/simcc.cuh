// SimCC (Li et al. 2022, arXiv 2107.03332): a joint's x and y are two classifications, along finer bins than pixels.
//
//   x = argmax of its row / split ratio, y likewise; score = the lower of both maxima, as RTMPose is deployed
//   (mmpose/codecs/utils/post_processing.py, get_simcc_maximum)
#pragma once
#include "group.cuh"

namespace jetpose {
namespace simcc {

struct Point {
  float x, y, score;
};

// One joint: rows (width) and (height), bins in order; input pixels. First position of the highest value, NaN is
// passed over. A score that is not finite and positive is a missing joint: NaN, NaN, 0.
template <class Group>
JP_FN Point decode(const Group& g, const float* row_x, int width, const float* row_y, int height, float split) {
  const Peak x = argmax(g, row_x, width), y = argmax(g, row_y, height);
  const float score = x.value > y.value ? y.value : x.value;
  if (!(score > 0.0f && finite(score))) {
    const float nan = negative_infinity() - negative_infinity();
    return {nan, nan, 0.0f};
  }
  return {(float)x.index / split, (float)y.index / split, score};
}

}  // namespace simcc
}  // namespace jetpose
