// jetpose_finite against a loop on the host: NaN and both infinities at the first, the last and a random value, lengths
// around the number of threads, and the largest finite values.
#include "harness.cuh"

static void test(harness::Report& report, const std::string& name, const std::vector<float>& values) {
  for (int threads : harness::block_sizes)
    for (int blocks : {1, 3, 64}) {
      std::vector<float> wanted(blocks, 0);
      for (std::size_t i = 0; i < values.size(); ++i)
        if (!std::isfinite(values[i])) wanted[i / threads % blocks] = 1;
      harness::Device<float> device_values(values);
      harness::Device<int> flags(blocks);
      harness::launch("finite", jetpose_finite, blocks, threads, (const float*)device_values.get(),
                      (i64)values.size(), flags.get());
      const std::vector<int> got = flags.host();
      report.compare(name + " in " + std::to_string(blocks) + " blocks of " + std::to_string(threads),
                     std::vector<float>(got.begin(), got.end()), wanted, 0);
    }
}

int main() {
  harness::require_gpu();
  harness::Report report;
  std::mt19937 random(1);
  for (std::size_t count : {1, 31, 32, 33, 4097, 20000}) {
    std::vector<float> values(count);
    for (std::size_t i = 0; i < count; ++i) values[i] = i % 2 ? 3.4e38f : -3.4e38f;
    const std::string name = std::to_string(count) + " values";
    test(report, name, values);
    for (float bad : {NAN, INFINITY, -INFINITY})
      for (std::size_t at : {(std::size_t)0, count - 1, (std::size_t)(random() % count)}) {
        std::vector<float> broken = values;
        broken[at] = bad;
        test(report, name + ", one is not", broken);
      }
  }
  return report.exit_code();
}
