// CUDA entry points: one thin __global__ function per operation, each one block per map, joint or image. The
// algorithms stand in the headers and are the very ones that the CPU build runs. All names are extern "C".
#include "group.cuh"
#include "heatmap.cuh"
#include "offset.cuh"
#include "preprocess.cuh"
#include "vector.cuh"

using namespace jetpose;

// One block per map: grid.x = N * K; blockDim.x a multiple of 32.
//   maps (N * K, H, W); out (N * K, 3); scratch: heatmap::scratch_size values per block
extern "C" __global__ void jetpose_heatmap(const float* maps, heatmap::Params params, float* scratch, float* out) {
  __shared__ BlockScratch shared;
  const BlockGroup g{&shared};
  const i64 n = (i64)params.width * params.height;
  const heatmap::Point point =
      heatmap::decode(g, params, maps + blockIdx.x * n, scratch + blockIdx.x * heatmap::scratch_size(params));
  if (g.rank() == 0) {
    out[3 * blockIdx.x] = point.x;
    out[3 * blockIdx.x + 1] = point.y;
    out[3 * blockIdx.x + 2] = point.score;
  }
}

// One thread per output pixel: grid (ceil(width / blockDim.x), ceil(height / blockDim.y)).
//   image: planes on the device; out (3 or 1, H, W)
extern "C" __global__ void jetpose_preprocess(preprocess::Image image, preprocess::Params params, float* out) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x < params.width && y < params.height) preprocess::pixel(params, image, x, y, out);
}

// The same for a float16 input.
extern "C" __global__ void jetpose_preprocess_half(preprocess::Image image, preprocess::Params params,
                                                   unsigned short* out) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x < params.width && y < params.height) preprocess::pixel(params, image, x, y, out);
}

// One block per joint: grid.x = K; blockDim.x a multiple of 32.
//   heatmaps (K, H, W); offsets (K, 2, H, W); votes (K, H, W), scratch; fused (K, H, W); out (K, 3)
extern "C" __global__ void jetpose_offset(const float* heatmaps, const float* offsets, offset::Params params,
                                          u64* votes, float* fused, float* out) {
  __shared__ BlockScratch shared;
  const BlockGroup g{&shared};
  const i64 start = (i64)blockIdx.x * params.width * params.height;
  const offset::Peak peak =
      offset::decode(g, params, heatmaps + start, offsets + 2 * start, votes + start, fused + start);
  if (g.rank() == 0) {
    out[3 * blockIdx.x] = peak.x;
    out[3 * blockIdx.x + 1] = peak.y;
    out[3 * blockIdx.x + 2] = peak.score;
  }
}

// One block. values (count, 2); boxes (count, 4); out (count, 3)
extern "C" __global__ void jetpose_vector(const float* values, const vector::Box* boxes, int from_corner, int count,
                                          float* out) {
  __shared__ BlockScratch shared;
  vector::place(BlockGroup{&shared}, values, boxes, from_corner, count, out);
}

// One block per person: grid.x = N. keypoints (N, joints, 3); out (N, joints, 4)
extern "C" __global__ void jetpose_cascade_boxes(const float* keypoints, int joints, int first, int second,
                                                 float sigma, vector::Box* out) {
  __shared__ BlockScratch shared;
  const i64 start = (i64)blockIdx.x * joints;
  vector::boxes(BlockGroup{&shared}, keypoints + 3 * start, joints, first, second, sigma, out + start);
}
