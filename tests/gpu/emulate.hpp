// CUDA on one CPU thread: with it (-DJETPOSE_EMULATE) kernels.cu and the GPU tests compile with g++ and need no GPU.
//
// Blocks run one after another, the threads of a block as fibers that take turns at every meeting point: __syncthreads
// or a shuffle. It proves launches, parameters, indexing and BlockGroup, and finds
//   a missing sync()   between two meeting points one thread runs after the other, in ascending order where the
//                      number of warps is odd, else in descending order: who reads too early reads the old value,
//                      the same way in every run
//   a divergent sync() all threads of a block must meet in the same kind of point, or end together
// Device memory is host memory, so that AddressSanitizer sees every access. Arithmetic is the CPU's.
#pragma once
#undef _FORTIFY_SOURCE  // its longjmp takes a switch to another stack for a fault
#include <setjmp.h>
#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __shared__ static  // one block at a time

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
inline dim3 gridDim, blockDim, blockIdx, threadIdx;

namespace emulate {

enum Point { kSync, kShuffle, kEnd };
constexpr unsigned kMaxThreads = 1024;
constexpr std::size_t kStack = 128 << 10;

struct Fiber {
  ucontext_t context;  // where it starts
  jmp_buf here;        // where it goes on
  bool started;
  std::unique_ptr<char[]> stack;  // made when the first block needs it
  Point at;
  int side;  // of the shuffle's slots
};
inline std::vector<Fiber> fibers(kMaxThreads);
inline ucontext_t scheduler_context;
inline jmp_buf scheduler;
inline unsigned current;
inline std::function<void()> body;

// swapcontext asks the kernel for the signal mask each time, so that jumps are several times as fast; but
// AddressSanitizer knows stacks by swapcontext only.
#ifdef __SANITIZE_ADDRESS__
inline void leave(Fiber& fiber) { swapcontext(&fiber.context, &scheduler_context); }
inline void resume(Fiber& fiber) { swapcontext(&scheduler_context, &fiber.context); }
#else
__attribute__((noinline)) inline void leave(Fiber& fiber) {
  if (_setjmp(fiber.here) == 0) _longjmp(scheduler, 1);
}
__attribute__((noinline)) inline void resume(Fiber& fiber) {
  if (_setjmp(scheduler) != 0) return;
  if (fiber.started) _longjmp(fiber.here, 1);
  fiber.started = true;
  setcontext(&fiber.context);
}
#endif

inline void meet(Point point) {
  fibers[current].at = point;
  leave(fibers[current]);
}

inline void enter() {
  body();
  meet(kEnd);
}

template <class T>
T from_lane(T value, unsigned lane) {
  static T slots[2][kMaxThreads];  // two, so that one meeting is enough
  const int side = fibers[current].side ^= 1;
  slots[side][current] = value;
  meet(kShuffle);
  return slots[side][lane];
}

inline void run_block() {
  const unsigned threads = blockDim.x * blockDim.y;
  for (unsigned i = 0; i < threads; ++i) {
    Fiber& fiber = fibers[i];
    if (!fiber.stack) fiber.stack.reset(new char[kStack]);
    getcontext(&fiber.context);
    fiber.context.uc_stack = {fiber.stack.get(), 0, kStack};
    fiber.context.uc_link = nullptr;
    fiber.side = 0;
    fiber.started = false;
    makecontext(&fiber.context, enter, 0);
  }
  const bool ascending = (threads + 31) / 32 % 2 == 1;
  do {
    for (unsigned i = 0; i < threads; ++i) {
      current = ascending ? i : threads - 1 - i;
      threadIdx = dim3(current % blockDim.x, current / blockDim.x, 0);
      resume(fibers[current]);
    }
    for (unsigned i = 1; i < threads; ++i)
      if (fibers[i].at != fibers[0].at)
        throw std::runtime_error("divergence: thread " + std::to_string(i) + " is at point " +
                                 std::to_string(fibers[i].at) + ", thread 0 at " + std::to_string(fibers[0].at));
  } while (fibers[0].at != kEnd);
}

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, Arguments... arguments) {
  const auto size = [](dim3 d) { return std::to_string(d.x) + " x " + std::to_string(d.y) + " x " + std::to_string(d.z); };
  if (block.x * block.y > kMaxThreads || block.x * block.y == 0 || block.z != 1 || grid.x * grid.y * grid.z == 0)
    throw std::runtime_error("launch of " + size(grid) + " blocks of " + size(block) + " threads");
  gridDim = grid;
  blockDim = block;
  body = [=] { kernel(arguments...); };
  for (unsigned i = 0; i < grid.x * grid.y * grid.z; ++i) {
    blockIdx = dim3(i % grid.x, i / grid.x % grid.y, i / grid.x / grid.y);
    run_block();
  }
}

}  // namespace emulate

inline void __syncthreads() { emulate::meet(emulate::kSync); }
template <class T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  return emulate::from_lane(value, emulate::current ^ mask);
}
template <class T>
T __shfl_up_sync(unsigned, T value, int delta) {
  return emulate::from_lane(value, (int)(emulate::current & 31) < delta ? emulate::current : emulate::current - delta);
}

using cudaError_t = int;
constexpr cudaError_t cudaSuccess = 0;
enum { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost };
inline const char* cudaGetErrorString(cudaError_t) { return "out of memory"; }
template <class T>
cudaError_t cudaMalloc(T** to, std::size_t bytes) {
  *to = (T*)std::malloc(bytes);
  return *to == nullptr;
}
inline cudaError_t cudaFree(void* memory) { return std::free(memory), cudaSuccess; }
inline cudaError_t cudaMemset(void* to, int value, std::size_t bytes) {
  return std::memset(to, value, bytes), cudaSuccess;
}
inline cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, int) {
  if (bytes > 0) std::memcpy(to, from, bytes);
  return cudaSuccess;
}
