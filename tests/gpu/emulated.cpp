// The kernels as a shared library without a GPU: a launch by name with its argument block, as cuLaunchKernel takes it,
// run on emulated blocks (emulate.hpp). Device memory is the process's own.
#define JETPOSE_EMULATE
#include "emulate.hpp"

#include <cstddef>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <tuple>

#include "../../runtime/native/kernels.cu"

namespace {

enum Result { kDone, kUnknownKernel, kWrongBytes, kFailed };

// Takes each parameter from its own alignment, by the types of the kernel itself.
class Reader {
 public:
  explicit Reader(const char* from) : from_(from) {}
  template <class T>
  void read(T& value) {
    at_ = (at_ + alignof(T) - 1) & ~(alignof(T) - 1);
    if (from_) std::memcpy(static_cast<void*>(&value), from_ + at_, sizeof(T));
    at_ += sizeof(T);
  }
  std::size_t bytes() const { return at_; }

 private:
  const char* from_;
  std::size_t at_ = 0;
};

template <class... Parameters>
std::size_t read(const char* from, std::tuple<Parameters...>& values) {
  Reader reader(from);
  std::apply([&](auto&... value) { (reader.read(value), ...); }, values);
  return reader.bytes();
}

struct Kernel {
  Result (*run)(dim3 grid, dim3 block, const char* arguments, std::size_t bytes);
  std::vector<std::size_t> (*ends)();  // of the parameters
};

template <auto kernel>
struct Entry;
template <class... Parameters, void (*kernel)(Parameters...)>
struct Entry<kernel> {
  static Result run(dim3 grid, dim3 block, const char* arguments, std::size_t bytes) {
    std::tuple<Parameters...> values;
    if (read(nullptr, values) != bytes) return kWrongBytes;
    read(arguments, values);
    std::apply([&](const Parameters&... value) { emulate::launch(kernel, grid, block, value...); }, values);
    return kDone;
  }
  static std::vector<std::size_t> ends() {
    Reader reader(nullptr);
    std::vector<std::size_t> out;
    std::tuple<Parameters...> values;
    std::apply([&](auto&... value) { ((reader.read(value), out.push_back(reader.bytes())), ...); }, values);
    return out;
  }
};

#define KERNEL(name) {#name, {&Entry<&name>::run, &Entry<&name>::ends}}
const std::map<std::string, Kernel> kernels{
    KERNEL(jetpose_cascade_boxes),
    KERNEL(jetpose_embedding_group_maps),
    KERNEL(jetpose_embedding_group_outputs),
    KERNEL(jetpose_embedding_peaks_maps),
    KERNEL(jetpose_embedding_peaks_outputs),
    KERNEL(jetpose_embedding_refine_maps),
    KERNEL(jetpose_embedding_refine_outputs),
    KERNEL(jetpose_finite),
    KERNEL(jetpose_finite_half),
    KERNEL(jetpose_heatmap),
    KERNEL(jetpose_offset),
    KERNEL(jetpose_paf_limbs),
    KERNEL(jetpose_paf_peaks),
    KERNEL(jetpose_paf_people),
    KERNEL(jetpose_preprocess),
    KERNEL(jetpose_preprocess_crops),
    KERNEL(jetpose_preprocess_crops_half),
    KERNEL(jetpose_preprocess_half),
    KERNEL(jetpose_vector),
    KERNEL(jetpose_window),
};

std::mutex one_at_a_time;  // a block is the process's

}  // namespace

// 0: the kernel has run; 1: unknown kernel; 2: another number of argument bytes; 3: the launch failed (see stderr).
extern "C" int jetpose_emulated_launch(const char* kernel, const int* grid, const int* block, const void* arguments,
                                       std::size_t bytes) {
  const auto found = kernels.find(kernel);
  if (found == kernels.end()) return kUnknownKernel;
  const std::lock_guard<std::mutex> lock(one_at_a_time);
  try {
    return found->second.run(dim3(grid[0], grid[1], grid[2]), dim3(block[0], block[1], block[2]),
                             static_cast<const char*>(arguments), bytes);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", kernel, error.what());
    return kFailed;
  }
}

// Where each parameter of a kernel ends in the argument block, as this compiler lays it out: how many there are, 0 for
// an unknown kernel; the first `room` are written.
extern "C" int jetpose_emulated_layout(const char* kernel, int* ends, int room) {
  const auto found = kernels.find(kernel);
  if (found == kernels.end()) return 0;
  const std::vector<std::size_t> all = found->second.ends();
  for (int i = 0; i < room && i < (int)all.size(); ++i) ends[i] = (int)all[i];
  return (int)all.size();
}
