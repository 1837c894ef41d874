// Declarations of all entry points of kernels.cu, which explains them: one place for their parameters, from which the
// compiler of kernels.cu and the launch plans (launch.hpp) take the layout of the argument block.
#pragma once
#include "embedding.cuh"
#include "finite.cuh"
#include "group.cuh"
#include "heatmap.cuh"
#include "offset.cuh"
#include "paf.cuh"
#include "preprocess.cuh"
#include "vector.cuh"
#include "window.cuh"

#if !defined(__CUDACC__) && !defined(__CUDACC_RTC__) && !defined(__global__)
#define __global__  // only the types are of use
#endif

extern "C" {
__global__ void jetpose_heatmap(const float* maps, jetpose::heatmap::Params params, float* scratch, float* out);

__global__ void jetpose_preprocess(jetpose::preprocess::Image image, jetpose::preprocess::Params params, float* out);
__global__ void jetpose_preprocess_half(jetpose::preprocess::Image image, jetpose::preprocess::Params params,
                                        unsigned short* out);
__global__ void jetpose_preprocess_crops(jetpose::preprocess::Image image, const jetpose::preprocess::Params* crops,
                                         float* out);
__global__ void jetpose_preprocess_crops_half(jetpose::preprocess::Image image,
                                              const jetpose::preprocess::Params* crops, unsigned short* out);

__global__ void jetpose_paf_peaks(const float* heat, jetpose::paf::Params params, jetpose::paf::Sampling sampling,
                                  float* tiles, jetpose::u64* keys, jetpose::u64* spare, jetpose::paf::Peaks out);
__global__ void jetpose_paf_limbs(const float* fields, jetpose::paf::Params params, jetpose::paf::Sampling sampling,
                                  const jetpose::paf::Limb* limbs, jetpose::paf::Peaks peaks, jetpose::u64* keys,
                                  jetpose::u64* spare, float* floats, int* ints, jetpose::u8* marks,
                                  jetpose::paf::Connections out);
__global__ void jetpose_paf_people(jetpose::paf::Params params, const jetpose::paf::Limb* limbs,
                                   jetpose::paf::Peaks peaks, jetpose::paf::Connections connections,
                                   jetpose::paf::PeopleMemory memory, jetpose::paf::People out);

__global__ void jetpose_embedding_peaks_maps(jetpose::embedding::MapSource source, jetpose::embedding::Params params,
                                             jetpose::embedding::Work work);
__global__ void jetpose_embedding_peaks_outputs(jetpose::embedding::OutputSource source,
                                                jetpose::embedding::Params params, jetpose::embedding::Work work);
__global__ void jetpose_embedding_group_maps(jetpose::embedding::MapSource source, jetpose::embedding::Params params,
                                             jetpose::embedding::Work work, jetpose::embedding::People people,
                                             int* count);
__global__ void jetpose_embedding_group_outputs(jetpose::embedding::OutputSource source,
                                                jetpose::embedding::Params params, jetpose::embedding::Work work,
                                                jetpose::embedding::People people, int* count);
__global__ void jetpose_embedding_refine_maps(jetpose::embedding::MapSource source, jetpose::embedding::Params params,
                                              jetpose::embedding::Work work, jetpose::embedding::People people,
                                              const int* count);
__global__ void jetpose_embedding_refine_outputs(jetpose::embedding::OutputSource source,
                                                 jetpose::embedding::Params params, jetpose::embedding::Work work,
                                                 jetpose::embedding::People people, const int* count);

__global__ void jetpose_offset(const float* heatmaps, const float* offsets, jetpose::offset::Params params,
                               jetpose::u64* votes, float* fused, float* out);

__global__ void jetpose_vector(const float* values, const jetpose::vector::Box* boxes, int from_corner, int count,
                               float* out);
__global__ void jetpose_cascade_boxes(const float* keypoints, int joints, int first, int second, float sigma,
                                      jetpose::vector::Box* out);

__global__ void jetpose_window(const float* fine, const float* corners, jetpose::window::Params params, float* out);

__global__ void jetpose_finite(const float* values, jetpose::i64 count, int* flags);
__global__ void jetpose_finite_half(const unsigned short* values, jetpose::i64 count, float* out, int* flags);
}
