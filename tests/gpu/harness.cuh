// What the GPU tests share: device arrays, random maps, and comparison of a kernel with the CPU build of its algorithm.
// A test is a program: exit 0 passed, 1 failed, 77 no usable GPU.
#pragma once
#include <cuda_runtime.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace harness {

inline void check(cudaError_t result, const char* what) {
  if (result == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(result));
  std::exit(1);
}

inline void require_gpu() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) {
    std::puts("skipped: no usable GPU");
    std::exit(77);
  }
}

// An array on the device; what is not copied in is filled with 0xff (NaN), so that a read of unwritten memory shows.
template <class T>
class Device {
 public:
  explicit Device(std::size_t count) : count_(count) {
    check(cudaMalloc(&data_, count * sizeof(T) + 1), "cudaMalloc");
    check(cudaMemset(data_, 0xff, count * sizeof(T)), "cudaMemset");
  }
  explicit Device(const std::vector<T>& host) : Device(host.size()) {
    check(cudaMemcpy(data_, host.data(), host.size() * sizeof(T), cudaMemcpyHostToDevice), "copy to the device");
  }
  ~Device() { cudaFree(data_); }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  T* get() const { return data_; }
  std::vector<T> host() const {
    std::vector<T> out(count_);
    check(cudaMemcpy(out.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost), "copy from the device");
    return out;
  }

 private:
  T* data_ = nullptr;
  std::size_t count_;
};

inline void finish_kernel(const char* name) {
  check(cudaGetLastError(), name);
  check(cudaDeviceSynchronize(), name);
}

// Maps with a soft peak or several each, noise, and a few NaN and infinite values where `broken`.
inline std::vector<float> random_maps(int count, int width, int height, unsigned seed, bool broken = false) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> unit(0, 1);
  std::normal_distribution<float> noise(0, 0.02f);
  std::vector<float> maps((std::size_t)count * width * height);
  for (int k = 0; k < count; ++k) {
    float* map = maps.data() + (std::size_t)k * width * height;
    const float cx = unit(random) * width, cy = unit(random) * height, height_of_peak = 0.2f + 0.8f * unit(random);
    for (int y = 0; y < height; ++y)
      for (int x = 0; x < width; ++x) {
        const float d2 = (x - cx) * (x - cx) + (y - cy) * (y - cy);
        map[(std::size_t)y * width + x] = height_of_peak * std::exp(-d2 / 8) + noise(random);
      }
  }
  if (broken)
    for (std::size_t i = 0; i < maps.size(); i += 97) maps[i] = i % 2 ? NAN : (i % 3 ? INFINITY : -INFINITY);
  return maps;
}

// Largest difference; NaN equals NaN, anything else with NaN is infinitely far.
inline double difference(const std::vector<float>& a, const std::vector<float>& b) {
  double worst = a.size() == b.size() ? 0 : INFINITY;
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
    if (std::isnan(a[i]) && std::isnan(b[i])) continue;
    const double d = a[i] == b[i] ? 0 : std::fabs((double)a[i] - b[i]);
    if (!(d <= worst)) worst = std::isnan(d) ? INFINITY : d;
  }
  return worst;
}

struct Report {
  int failed = 0;
  void compare(const std::string& name, const std::vector<float>& gpu, const std::vector<float>& cpu, double allowed) {
    const double worst = difference(gpu, cpu);
    const bool ok = worst <= allowed;
    failed += !ok;
    std::printf("%-52s worst |d| %.2e  %s\n", name.c_str(), worst, ok ? "ok" : "FAILED");
  }
  int exit_code() const { return failed ? 1 : 0; }
};

}  // namespace harness
