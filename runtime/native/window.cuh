// Tompson et al. 2015 (arXiv 1411.4280): each joint has a coarse map, and a fine one of a window around its peak. The
// joint lies at the window's corner plus the way to the fine map's peak.
#pragma once
#include "heatmap.cuh"

namespace jetpose {
namespace window {

struct Params {
  int width, height;  // of a fine map
  float stride;       // input pixels per pixel of it
};

// Keypoint in pixels of the network's input; corner x, y of the window's first pixel there. No finite positive
// maximum: score 0, x = y = NaN.
template <class Group>
JP_FN heatmap::Point place(const Group& g, const Params& p, const float* fine, const float* corner) {
  const Peak peak = argmax(g, fine, p.width * p.height);
  const float x = corner[0] + p.stride * (float)(peak.index % p.width);
  const float y = corner[1] + p.stride * (float)(peak.index / p.width);
  const bool found = peak.value > 0 && finite(peak.value) && finite(x) && finite(y);
  const float nan = negative_infinity() - negative_infinity();
  return {found ? x : nan, found ? y : nan, found ? peak.value : 0.0f};
}

}  // namespace window
}  // namespace jetpose
