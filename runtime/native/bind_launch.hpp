// What the bind_*.cpp share that also plan launches: maps in device memory as Python gives them.
#pragma once
#include <nanobind/stl/array.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "bind.hpp"
#include "launch.hpp"

namespace jetpose {

// Address and shape of one output of a network.
template <std::size_t dims>
using DeviceArray = std::pair<std::uintptr_t, std::array<int, dims>>;

template <std::size_t dims>
const float* data_of(const DeviceArray<dims>& array, const char* what) {
  require(array.first != 0 && array.first % alignof(float) == 0, what);
  for (int size : array.second) require(size > 0, what);
  return reinterpret_cast<const float*>(array.first);
}

// Threads of a block: whole warps, and no more than the kernels' registers allow.
inline void check_block(int threads) {
  require(threads >= 32 && threads <= 512 && threads % 32 == 0, "block: wanted 32 to 512 threads, a multiple of 32");
}

inline Size3 along_x(int count) { return {(unsigned)count, 1, 1}; }

nb::tuple as_tuple(const Launch& launch);  // kernel, grid, block, arguments

}  // namespace jetpose
