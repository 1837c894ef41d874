// CUDA entry points: one thin __global__ function per operation, each one block per map, joint or image. The
// algorithms stand in the headers and are the very ones that the CPU build runs. All names are extern "C".
#include "kernels.cuh"

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

// Several crops of one image, as of many people: grid.z crops, otherwise as above.
//   crops (grid.z,), each with the same size and colour, or with width 0: nothing is written
//   out (grid.z, 3 or 1, H, W)
template <class Out>
__device__ void preprocess_crop(const preprocess::Image& image, const preprocess::Params* crops, Out* out) {
  const preprocess::Params params = crops[blockIdx.z];
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= params.width || y >= params.height) return;
  const i64 size = (i64)preprocess::output_channels(params) * params.height * params.width;
  preprocess::pixel(params, image, x, y, out + blockIdx.z * size);
}
extern "C" __global__ void jetpose_preprocess_crops(preprocess::Image image, const preprocess::Params* crops,
                                                    float* out) {
  preprocess_crop(image, crops, out);
}
extern "C" __global__ void jetpose_preprocess_crops_half(preprocess::Image image, const preprocess::Params* crops,
                                                         unsigned short* out) {
  preprocess_crop(image, crops, out);
}

// One block per part: grid.x = K.
//   heat (>= K, h, w); tiles: paf::tile_memory values, keys and spare: paf::key_memory values per block
extern "C" __global__ void jetpose_paf_peaks(const float* heat, paf::Params params, paf::Sampling sampling,
                                             float* tiles, u64* keys, u64* spare, paf::Peaks out) {
  __shared__ BlockScratch shared;
  const BlockGroup g{&shared};
  const i64 part = blockIdx.x, per_part = paf::key_memory(params);
  const paf::PeakMemory memory{tiles + part * paf::tile_memory(sampling), keys + part * per_part,
                               spare + part * per_part};
  paf::find_peaks(g, params, sampling, heat + part * sampling.width * sampling.height, (int)part, memory, out);
}

// One block per limb: grid.x = L.
//   fields (channels, h, w); keys and spare: M^2 values per block (not trt_pose); floats: M^2 + 3 M, ints: 3 M,
//   marks: 3 M values per block
extern "C" __global__ void jetpose_paf_limbs(const float* fields, paf::Params params, paf::Sampling sampling,
                                             const paf::Limb* limbs, paf::Peaks peaks, u64* keys, u64* spare,
                                             float* floats, int* ints, u8* marks, paf::Connections out) {
  __shared__ BlockScratch shared;
  const BlockGroup g{&shared};
  const i64 limb = blockIdx.x;
  const paf::LimbMemory memory =
      paf::memory_of_limb(paf::LimbArrays{keys, spare, floats, ints, marks}, params.max_peaks, limb);
  paf::connect(g, params, sampling, fields, limbs[limb], (int)limb, peaks, memory, out);
}

// One block.
extern "C" __global__ void jetpose_paf_people(paf::Params params, const paf::Limb* limbs, paf::Peaks peaks,
                                              paf::Connections connections, paf::PeopleMemory memory,
                                              paf::People out) {
  __shared__ BlockScratch shared;
  paf::assemble(BlockGroup{&shared}, params, limbs, peaks, connections, memory, out);
}

// Associative embedding of one image, three kernels in a row; Source is MapSource (_maps) or OutputSource (_outputs).
// Blocks of one image need their own Work; images run in separate launches.
//   peaks, refine: grid.x = joints; group: grid.x = 1; blockDim.x a multiple of 32
//   count (1,): people found, at most embedding::people_capacity
template <class Source>
__device__ void embedding_peaks(const Source& source, const embedding::Params& params, const embedding::Work& work) {
  __shared__ BlockScratch shared;
  embedding::peaks_of_joint(BlockGroup{&shared}, params, source, work, blockIdx.x);
}
template <class Source>
__device__ void embedding_group(const Source& source, const embedding::Params& params, const embedding::Work& work,
                                const embedding::People& people, int* count) {
  __shared__ BlockScratch shared;
  const BlockGroup g{&shared};
  const int found = embedding::people_of_image(g, params, source, work, people);
  if (g.rank() == 0) *count = found;
}
template <class Source>
__device__ void embedding_refine(const Source& source, const embedding::Params& params, const embedding::Work& work,
                                 const embedding::People& people, const int* count) {
  __shared__ BlockScratch shared;
  embedding::missing_of_joint(BlockGroup{&shared}, params, source, work, blockIdx.x, people, *count);
}

extern "C" {
__global__ void jetpose_embedding_peaks_maps(embedding::MapSource source, embedding::Params params,
                                             embedding::Work work) {
  embedding_peaks(source, params, work);
}
__global__ void jetpose_embedding_peaks_outputs(embedding::OutputSource source, embedding::Params params,
                                                embedding::Work work) {
  embedding_peaks(source, params, work);
}
__global__ void jetpose_embedding_group_maps(embedding::MapSource source, embedding::Params params,
                                             embedding::Work work, embedding::People people, int* count) {
  embedding_group(source, params, work, people, count);
}
__global__ void jetpose_embedding_group_outputs(embedding::OutputSource source, embedding::Params params,
                                                embedding::Work work, embedding::People people, int* count) {
  embedding_group(source, params, work, people, count);
}
__global__ void jetpose_embedding_refine_maps(embedding::MapSource source, embedding::Params params,
                                              embedding::Work work, embedding::People people, const int* count) {
  embedding_refine(source, params, work, people, count);
}
__global__ void jetpose_embedding_refine_outputs(embedding::OutputSource source, embedding::Params params,
                                                 embedding::Work work, embedding::People people, const int* count) {
  embedding_refine(source, params, work, people, count);
}
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

// One block per joint: grid.x = K; blockDim.x a multiple of 32. fine (K, h, w); corners (K, 2); out (K, 3)
extern "C" __global__ void jetpose_window(const float* fine, const float* corners, window::Params params, float* out) {
  __shared__ BlockScratch shared;
  const BlockGroup g{&shared};
  const i64 start = (i64)blockIdx.x * params.width * params.height;
  const heatmap::Point point = window::place(g, params, fine + start, corners + 2 * blockIdx.x);
  if (g.rank() == 0) {
    out[3 * blockIdx.x] = point.x;
    out[3 * blockIdx.x + 1] = point.y;
    out[3 * blockIdx.x + 2] = point.score;
  }
}

// Any grid and block, all along x: flags (gridDim.x,), 1 where one of the block's values is not finite.
extern "C" __global__ void jetpose_finite(const float* values, i64 count, int* flags) {
  __shared__ BlockScratch shared;
  const BlockGroup g{&shared};
  const int bad = nonfinite::any(g, values, count, blockIdx.x, gridDim.x);
  if (g.rank() == 0) flags[blockIdx.x] = bad;
}

// The same for float16; out (count,), aligned to 16 bytes, gets the values as float32.
extern "C" __global__ void jetpose_finite_half(const unsigned short* values, i64 count, float* out, int* flags) {
  __shared__ BlockScratch shared;
  const BlockGroup g{&shared};
  const int bad = nonfinite::widen(g, values, count, out, blockIdx.x, gridDim.x);
  if (g.rank() == 0) flags[blockIdx.x] = bad;
}
