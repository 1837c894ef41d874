// CUDA entry points: one thin __global__ function per operation, each one block per map, joint or image. The
// algorithms stand in the headers and are the very ones that the CPU build runs. All names are extern "C".
#include "embedding.cuh"
#include "group.cuh"
#include "heatmap.cuh"

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
