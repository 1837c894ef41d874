// What every bind_*.cpp shares: array types, scratch memory, and how an algorithm is run.
#pragma once
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstddef>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "group.cuh"
#ifdef JETPOSE_LANES
#include "lanes.hpp"
#endif

namespace nb = nanobind;

namespace jetpose {

// Arrays are checked here once more (dtype, dimensions, C order, CPU); the Python wrappers give the readable errors.
template <class T, int dims>
using Array = nb::ndarray<T, nb::ndim<dims>, nb::c_contig, nb::device::cpu>;

// Scratch memory of the calling thread, kept from call to call: nothing is allocated once the largest case has run.
// The n-th array that is taken is always the same memory; contents are undefined, T must need no construction.
class Scratch {
 public:
  template <class T>
  T* take(std::size_t count) {
    auto& arrays = kept();
    if (taken_ == arrays.size()) arrays.emplace_back();
    std::vector<u8>& array = arrays[taken_++];
    if (array.size() < count * sizeof(T) + 1) array.resize(count * sizeof(T) + 1);  // an address for nothing too
    return reinterpret_cast<T*>(array.data());
  }

 private:
  static std::vector<std::vector<u8>>& kept() {
    thread_local std::vector<std::vector<u8>> arrays;
    return arrays;
  }
  std::size_t taken_ = 0;
};

// Runs body(group) without the GIL. Release builds have one lane; tests build with JETPOSE_LANES > 1.
template <class Body>
void run(Body&& body) {
  nb::gil_scoped_release released;
#ifdef JETPOSE_LANES
  run_lanes(JETPOSE_LANES, std::forward<Body>(body));
#else
  body(SerialGroup{});
#endif
}

inline void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

void bind_embedding(nb::module_& m);
void bind_heatmap(nb::module_& m);
void bind_launch(nb::module_& m);
void bind_offset(nb::module_& m);
void bind_preprocess(nb::module_& m);
void bind_paf(nb::module_& m);
void bind_tracking(nb::module_& m);
void bind_vector(nb::module_& m);
void bind_window(nb::module_& m);

}  // namespace jetpose
