// Kernel launches as plain data, and the device memory that they use. Nothing here touches a GPU: addresses are numbers.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels.cuh"

namespace jetpose {

using Size3 = std::array<unsigned, 3>;  // along x, y, z

struct Launch {
  const char* kernel;
  Size3 grid, block;
  std::vector<u8> arguments;  // the kernel's parameters, each at its own alignment: what cuLaunchKernel takes as a block
};

template <class T>
void append(std::vector<u8>& block, const T& value) {
  static_assert(std::is_trivially_copyable<T>::value, "a kernel's parameter is copied byte by byte");
  block.resize((block.size() + alignof(T) - 1) / alignof(T) * alignof(T));
  const u8* bytes = reinterpret_cast<const u8*>(&value);
  block.insert(block.end(), bytes, bytes + sizeof(T));
}

// Of a kernel's type only: the plans are built without the kernels.
template <class Kernel>
struct Signature;
template <class... Parameters>
struct Signature<void(Parameters...)> {
  static Launch launch(const char* kernel, Size3 grid, Size3 block, const Parameters&... values) {
    Launch made{kernel, grid, block, {}};
    (append(made.arguments, values), ...);
    return made;
  }
};
// (grid, block, arguments...): the kernel's name, and its arguments converted to the types of its parameters.
#define JP_LAUNCH(kernel, ...) ::jetpose::Signature<decltype(kernel)>::launch(#kernel, __VA_ARGS__)

// Bytes that must lie in the arena before the first launch, and that no kernel changes.
struct Upload {
  std::size_t offset;
  std::vector<u8> bytes;
};

// Hands out the device memory of one image, array after array. At base 0 only the offsets and the size are of use.
class Arena {
 public:
  static constexpr std::size_t kAlignment = 256;

  explicit Arena(std::uintptr_t base) : base_(base) {}

  template <class T>
  T* take(std::size_t count) {
    const std::size_t at = mark();
    end_ = at + count * sizeof(T);
    return reinterpret_cast<T*>(base_ + at);
  }

  // An array with values, uploaded once.
  template <class T>
  const T* keep(const T* values, std::size_t count) {
    const std::size_t at = mark();
    const u8* bytes = reinterpret_cast<const u8*>(values);
    uploads_.push_back({at, {bytes, bytes + count * sizeof(T)}});
    return take<T>(count);
  }

  // Offset of what is taken next.
  std::size_t mark() const { return (end_ + kAlignment - 1) / kAlignment * kAlignment; }
  std::size_t offset_of(const void* taken) const { return reinterpret_cast<std::uintptr_t>(taken) - base_; }
  const std::vector<Upload>& uploads() const { return uploads_; }

 private:
  std::uintptr_t base_;
  std::size_t end_ = 0;
  std::vector<Upload> uploads_;
};

// The decoding of one image: what to launch in which order, and where the people are afterwards. No memory need be
// cleared: every kernel writes what a later one reads.
struct Plan {
  std::size_t bytes = 0;  // of the arena
  std::vector<Upload> uploads;
  std::vector<Launch> launches;
  std::size_t result = 0, result_bytes = 0;          // offset in the arena; the one region that is copied back
  std::size_t count = 0, scores = 0, keypoints = 0;  // offsets in the result; one person's family has keypoints only
};

inline Plan finish(const Arena& arena, std::vector<Launch> launches) {
  Plan plan;
  plan.bytes = arena.mark();
  plan.uploads = arena.uploads();
  plan.launches = std::move(launches);
  return plan;
}

// The result of the families that find one person: keypoints (K, 3), taken last.
inline Plan finish_single(const Arena& arena, const float* keypoints, std::vector<Launch> launches) {
  Plan plan = finish(arena, std::move(launches));
  plan.result = arena.offset_of(keypoints);
  plan.result_bytes = plan.bytes - plan.result;
  return plan;
}

// Of the families that find many: the number of people, their scores (capacity,) and keypoints (capacity, K, 3), so
// that a front part of the region holds the first people. Taken last.
struct PeopleResult {
  int* count;
  float *scores, *keypoints;

  PeopleResult(Arena& arena, std::size_t capacity, std::size_t joints)
      : count(arena.take<int>(1)), scores(arena.take<float>(capacity)),
        keypoints(arena.take<float>(capacity * joints * 3)) {}
};
inline Plan finish_people(const Arena& arena, const PeopleResult& result, std::vector<Launch> launches) {
  Plan plan = finish(arena, std::move(launches));
  plan.result = arena.offset_of(result.count);
  plan.result_bytes = plan.bytes - plan.result;
  plan.scores = arena.offset_of(result.scores) - plan.result;
  plan.keypoints = arena.offset_of(result.keypoints) - plan.result;
  return plan;
}

}  // namespace jetpose
