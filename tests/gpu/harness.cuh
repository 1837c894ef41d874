// What the GPU tests share: device arrays, launches, random scenes, and comparison of a kernel with the CPU build of
// its algorithm. A test is a program: exit 0 passed, 1 failed, 77 no usable GPU. With -DJETPOSE_EMULATE and g++ it runs
// on the CPU (emulate.hpp).
#pragma once
#ifdef JETPOSE_EMULATE
#include "emulate.hpp"
#else
#include <cuda_runtime.h>
#endif

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "../../runtime/native/kernels.cu"

namespace harness {

inline void check(cudaError_t result, const char* what) {
  if (result == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(result));
  std::exit(1);
}

// ---- device -------------------------------------------------------------------------------------------------

// An odd and an even number of warps at least: emulation takes threads in opposite orders.
#ifdef JETPOSE_EMULATE
inline const std::vector<int> block_sizes{32, 64};
inline void require_gpu() {}
#else
inline const std::vector<int> block_sizes{32, 128, 256, 512};
inline void require_gpu() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) {
    std::puts("skipped: no usable GPU");
    std::exit(77);
  }
}
#endif

// Runs the kernel and waits for its end.
template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block, const Arguments&... arguments) {
#ifdef JETPOSE_EMULATE
  emulate::launch(kernel, grid, block, arguments...);
#else
  kernel<<<grid, block>>>(arguments...);
  check(cudaGetLastError(), name);
  check(cudaDeviceSynchronize(), name);
#endif
  (void)name;
}

// An array on the device; what is not copied in is NaN or a large integer, so that a read of unwritten memory shows.
template <class T>
class Device {
 public:
  explicit Device(std::size_t count) : count_(count) {
    check(cudaMalloc(&data_, count * sizeof(T) + 1), "cudaMalloc");
    check(cudaMemset(data_, std::is_floating_point<T>::value ? 0xff : 0x5a, count * sizeof(T)), "cudaMemset");
  }
  explicit Device(const std::vector<T>& host) : Device(host.size()) {
    check(cudaMemcpy(data_, host.data(), host.size() * sizeof(T), cudaMemcpyHostToDevice), "copy to the device");
  }
  ~Device() { cudaFree(data_); }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  T* get() const { return data_; }
  std::vector<T> host() const { return copy(data_, count_); }
  static std::vector<T> copy(const T* from, std::size_t count) {
    std::vector<T> out(count);
    check(cudaMemcpy(out.data(), from, count * sizeof(T), cudaMemcpyDeviceToHost), "copy from the device");
    return out;
  }

 private:
  T* data_ = nullptr;
  std::size_t count_;
};

// The same array on the host, so that one function can lay out memory for the kernel and for its reference.
template <class T>
class Host {
 public:
  explicit Host(std::size_t count) {
    data_.reserve(count + 1);  // an address also where there is nothing
    data_.resize(count);
  }
  explicit Host(const std::vector<T>& host) : data_(host) {}
  T* get() { return data_.data(); }
  const std::vector<T>& host() const { return data_; }
  static std::vector<T> copy(const T* from, std::size_t count) { return {from, from + count}; }

 private:
  std::vector<T> data_;
};

// Arrays of one kind of memory, Host or Device, for the layouts that take them one after another; each is an allocation
// of its own, so that AddressSanitizer and compute-sanitizer see where it ends.
template <template <class> class Array>
class Pool {
 public:
  template <class T>
  T* take(std::size_t count) {
    return keep(std::make_shared<Array<T>>(count));
  }
  template <class T>
  const T* with(const std::vector<T>& values) {
    return keep(std::make_shared<Array<T>>(values));
  }
  template <class T>
  static std::vector<T> host(const T* from, std::size_t count) {
    return Array<T>::copy(from, count);
  }

 private:
  template <class T>
  T* keep(std::shared_ptr<Array<T>> array) {
    arrays_.push_back(array);
    return array->get();
  }
  std::vector<std::shared_ptr<void>> arrays_;
};

// ---- input --------------------------------------------------------------------------------------------------

// People standing about: joint k of a person lies on a random curve, so that neighbours in number are near.
struct Scene {
  int people, joints, width, height;
  std::vector<float> x, y;  // (people, joints), map pixels
};

inline Scene random_scene(int people, int joints, int width, int height, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> unit(0, 1);
  Scene s{people, joints, width, height, {}, {}};
  for (int i = 0; i < people; ++i) {
    const float cx = unit(random) * width, cy = unit(random) * height, size = (0.1f + 0.3f * unit(random)) * height;
    for (int k = 0; k < joints; ++k) {
      const float angle = 2.5f * k / joints + 0.3f * unit(random);
      s.x.push_back(cx + size * std::cos(angle));
      s.y.push_back(cy + size * std::sin(2 * angle));
    }
  }
  return s;
}

// A soft peak per person and joint, and noise: (joints, height, width).
inline std::vector<float> heatmaps(const Scene& s, unsigned seed, float sigma = 1.5f, float noise = 0.02f) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> unit(0, 1);
  std::normal_distribution<float> normal(0, noise);
  std::vector<float> maps((std::size_t)s.joints * s.width * s.height);
  for (auto& v : maps) v = normal(random);
  for (int i = 0; i < s.people * s.joints; ++i) {
    float* map = maps.data() + (std::size_t)(i % s.joints) * s.width * s.height;
    const float peak = 0.2f + 0.8f * unit(random);
    for (int y = 0; y < s.height; ++y)
      for (int x = 0; x < s.width; ++x) {
        const float dx = x - s.x[i], dy = y - s.y[i];
        map[y * s.width + x] += peak * std::exp(-(dx * dx + dy * dy) / (2 * sigma * sigma));
      }
  }
  return maps;
}

// NaN and infinite values here and there.
inline void spoil(std::vector<float>& values) {
  for (std::size_t i = 13; i < values.size(); i += 97) values[i] = i % 2 ? NAN : (i % 3 ? INFINITY : -INFINITY);
}

// ---- comparison ---------------------------------------------------------------------------------------------

// The first counts[i] of every `capacity` groups of `width` values.
template <class T>
std::vector<T> valid(const std::vector<T>& values, const std::vector<int>& counts, int capacity, int width) {
  std::vector<T> out;
  for (std::size_t i = 0; i < counts.size(); ++i)
    for (int j = 0; j < counts[i] * width && counts[i] <= capacity; ++j)
      out.push_back(values[i * capacity * width + j]);
  return out;
}

// Largest difference; NaN equals NaN, anything else with NaN is infinitely far.
template <class T>
double difference(const std::vector<T>& a, const std::vector<T>& b) {
  double worst = a.size() == b.size() ? 0 : INFINITY;
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
    if (a[i] == b[i] || (a[i] != a[i] && b[i] != b[i])) continue;
    const double d = std::fabs((double)a[i] - (double)b[i]);
    if (!(d <= worst)) worst = d == d ? d : INFINITY;
  }
  return worst;
}

struct Report {
  int failed = 0;
  template <class T>
  void compare(const std::string& name, const std::vector<T>& gpu, const std::vector<T>& cpu, double allowed) {
    const double worst = difference(gpu, cpu);
    const bool ok = worst <= allowed;
    failed += !ok;
    std::printf("%-64s %6zu values, worst |d| %.2e  %s\n", name.c_str(), cpu.size(), worst, ok ? "ok" : "FAILED");
  }
  int exit_code() const { return failed ? 1 : 0; }
};

}  // namespace harness
