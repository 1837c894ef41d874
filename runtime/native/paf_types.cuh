// Parameters and arrays that the stages of part-affinity-field decoding share.
#pragma once
#include "paf_sample.cuh"

namespace jetpose {
namespace paf {

enum Profile { kOpenPose, kLightweight, kTrtPose, kTfPose };

constexpr int kMaxSamples = 64;  // points along a limb

struct Params {
  int profile;
  int width, height;     // of the decoded map, pixels
  int parts, limbs;      // K, L
  int max_peaks;         // M: peaks per part
  int max_people;        // P
  int samples;           // points along a limb
  int min_hits;          // of them above limb_threshold (not trt_pose)
  int window;            // side of the peak's window; an even one counts as one more (trt_pose)
  int min_parts;         // of a person (not trt_pose)
  float min_distance;    // between peaks of one part, pixels (lightweight)
  float peak_threshold;
  float limb_threshold;  // of one sample; trt_pose: of the whole limb
  float min_score;       // of a person, mean over its parts (not trt_pose)
};

// One limb: parts a and b, channels of the field's x and y, and whether it only matches what is there already.
struct Limb {
  int a, b, x, y, matching_only;
};

struct Peaks {
  float* points;    // (K, M, 3) x, y, score
  int* cells;       // (K, M, 2) x, y of the pixel found
  float* searched;  // (K, M) value there of the map that was searched
  int* counts;      // (K)
};

struct Connections {
  int* pairs;     // (L, M, 2) index of the peak of part a, of part b
  float* scores;  // (L, M)
  int* counts;    // (L)
};

// A peak's id counts all peaks, part by part; -1 is none.
struct People {
  int* ids;          // (P, K)
  double* sums;      // (P) sum of the peaks' and limbs' scores
  int* parts;        // (P) parts as the authors count them
  float* keypoints;  // (P, K, 3) x, y, score
  float* scores;     // (P)
  int* total;        // (1)
};

JP_FN float not_a_number() { return negative_infinity() - negative_infinity(); }

}  // namespace paf
}  // namespace jetpose
