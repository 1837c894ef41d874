// Groups of cooperating lanes: the one abstraction that lets a decoder run unchanged on a CPU and on a GPU.
//
// An algorithm is a template over a group. Every lane of the group calls it with the same arguments; lanes share
// the work by rank() and size() and meet at sync(). Results must not depend on size(): candidates are ordered by
// (score descending, position ascending), floating-point sums are formed by one lane in a fixed order.
//   SerialGroup   one lane; the CPU build
//   BlockGroup    the threads of one CUDA block (blockDim.x a multiple of 32)
//   ThreadGroup   several CPU threads (lanes.hpp); tests only
#pragma once

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#define JP_FN __host__ __device__ inline
#else
#define JP_FN inline
#endif

#ifndef __CUDACC_RTC__
#include <math.h>
#include <string.h>
#endif

namespace jetpose {

using u8 = unsigned char;
using u32 = unsigned int;
using u64 = unsigned long long;
using i64 = long long;

// A group offers:
//   rank(), size(), sync()
//   max(v)          the largest v of all lanes, given to all
//   scan(v, total)  sum of v over the lower ranks; total = sum over all lanes
// max and scan are meeting points too: what a lane wrote before is visible to all lanes after.

struct SerialGroup {
  static constexpr bool serial = true;
  JP_FN int rank() const { return 0; }
  JP_FN int size() const { return 1; }
  JP_FN void sync() const {}
  JP_FN u64 max(u64 v) const { return v; }
  JP_FN int scan(int v, int& total) const {
    total = v;
    return 0;
  }
};

#if defined(__CUDACC__) || defined(JETPOSE_EMULATE)  // the latter: tests/gpu/emulate.hpp
// Shared scratch: one u64 and one int for each of at most 32 warps.
struct BlockScratch {
  u64 key[32];
  int sum[32];
};

struct BlockGroup {
  static constexpr bool serial = false;
  BlockScratch* scratch;  // in shared memory

  __device__ int rank() const { return threadIdx.x; }
  __device__ int size() const { return blockDim.x; }
  __device__ void sync() const { __syncthreads(); }

  __device__ u64 max(u64 v) const {
    for (int d = 16; d > 0; d >>= 1) {
      u64 other = __shfl_xor_sync(0xffffffffu, v, d);
      if (other > v) v = other;
    }
    __syncthreads();  // the scratch may still be read from the call before
    if ((threadIdx.x & 31) == 0) scratch->key[threadIdx.x >> 5] = v;
    __syncthreads();
    for (int w = 0; w < (size() + 31) >> 5; ++w)
      if (scratch->key[w] > v) v = scratch->key[w];
    return v;
  }

  __device__ int scan(int v, int& total) const {
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    int inclusive = v;
    for (int d = 1; d < 32; d <<= 1) {
      int other = __shfl_up_sync(0xffffffffu, inclusive, d);
      if (lane >= d) inclusive += other;
    }
    __syncthreads();
    if (lane == 31) scratch->sum[warp] = inclusive;
    __syncthreads();
    int before = 0;
    total = 0;
    for (int w = 0; w < (size() + 31) >> 5; ++w) {
      if (w < warp) before += scratch->sum[w];
      total += scratch->sum[w];
    }
    return before + inclusive - v;
  }
};
#endif

// ---- ordered keys -------------------------------------------------------------------------------------------

// Float bits as an unsigned integer of the same order; NaN sorts below everything.
JP_FN u32 ordered(float v) {
  if (!(v == v)) return 0;
  u32 bits;
#ifdef __CUDA_ARCH__
  bits = __float_as_uint(v);
#else
  memcpy(&bits, &v, sizeof bits);
#endif
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

JP_FN float from_bits(u32 bits) {
#ifdef __CUDA_ARCH__
  return __uint_as_float(bits);
#else
  float v;
  memcpy(&v, &bits, sizeof v);
  return v;
#endif
}

JP_FN float from_ordered(u32 key) { return from_bits(key & 0x80000000u ? key & 0x7fffffffu : ~key); }

// The larger key is the higher score; among equal scores, the lower position. -0 counts as +0.
JP_FN u64 score_key(float score, u32 position) {
  return (u64)ordered(score + 0.0f) << 32 | (u32)~position;
}
JP_FN float key_score(u64 key) { return from_ordered((u32)(key >> 32)); }
JP_FN u32 key_position(u64 key) { return ~(u32)key; }

// ---- small helpers ------------------------------------------------------------------------------------------

JP_FN int clampi(int v, int low, int high) { return v < low ? low : v > high ? high : v; }
JP_FN float negative_infinity() {
#ifdef __CUDA_ARCH__
  return __int_as_float(0xff800000);
#else
  return -HUGE_VALF;
#endif
}
JP_FN bool finite(float v) { return v - v == 0.0f; }

// Largest of n values, NaN ignored; -infinity where there is none.
JP_FN float max_of(const float* p, int n) {
  float best = negative_infinity();
  int i = 0;
#if defined(__GNUC__) && !defined(__CUDACC__) && !defined(__CUDACC_RTC__)
  // Vectors written out: the compiler does not find them behind the NaN rule.
  typedef float Lanes __attribute__((vector_size(32), aligned(4), may_alias));
  if (n >= 16) {
    Lanes a = best - Lanes{}, b = a;
    for (; i + 16 <= n; i += 16) {
      const Lanes va = *(const Lanes*)(p + i), vb = *(const Lanes*)(p + i + 8);
      a = va > a ? va : a;
      b = vb > b ? vb : b;
    }
    a = b > a ? b : a;
    for (int j = 0; j < 8; ++j) best = a[j] > best ? a[j] : best;
  }
#endif
  for (; i < n; ++i) best = p[i] > best ? p[i] : best;
  return best;
}

// First position of the largest of n values and that value; NaN ignored. All-NaN (or n = 0) gives -infinity at 0.
struct Peak {
  int index;
  float value;
};
template <class Group>
JP_FN Peak argmax(const Group& g, const float* p, int n) {
  if constexpr (Group::serial) {
    constexpr int kChunk = 256;  // short, so that the second look, for the place, is short too
    float best = negative_infinity();
    int chunk = 0;
    for (int i = 0; i < n; i += kChunk) {
      const float highest = max_of(p + i, n - i < kChunk ? n - i : kChunk);
      if (highest > best) {
        best = highest;
        chunk = i;
      }
    }
    for (int i = chunk; i < n; ++i)
      if (p[i] == best) return {i, best};
    return {0, negative_infinity()};
  } else {
    u64 best = score_key(negative_infinity(), 0);
    for (int i = g.rank(); i < n; i += g.size()) {
      const u64 key = score_key(p[i], (u32)i);
      if (key > best) best = key;
    }
    best = g.max(best);
    return {(int)key_position(best), key_score(best)};
  }
}

// Sorts keys[0..n) in descending order; keys are distinct. scratch holds n keys.
template <class Group>
JP_FN void sort_descending(const Group& g, u64* keys, u64* scratch, int n) {
  if constexpr (Group::serial) {
    for (int gap = n > 64 ? 57 : 1;; gap = gap > 23 ? 23 : gap > 10 ? 10 : gap > 4 ? 4 : 1) {  // Ciura's gaps
      for (int i = gap; i < n; ++i) {
        const u64 key = keys[i];
        int j = i;
        for (; j >= gap && keys[j - gap] < key; j -= gap) keys[j] = keys[j - gap];
        keys[j] = key;
      }
      if (gap == 1) break;
    }
  } else {  // rank sort: every key counts the larger ones
    for (int i = g.rank(); i < n; i += g.size()) {
      int larger = 0;
      for (int j = 0; j < n; ++j) larger += keys[j] > keys[i];
      scratch[larger] = keys[i];
    }
    g.sync();
    for (int i = g.rank(); i < n; i += g.size()) keys[i] = scratch[i];
    g.sync();
  }
}

}  // namespace jetpose
