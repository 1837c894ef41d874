// jetpose_finite and jetpose_finite_half against a loop on the host: every half there is; NaN and both infinities at the first, the last and a random value, lengths
// around the number of threads, addresses with and without the alignment of wide loads, the largest finite values.
#include "harness.cuh"

// The block that looks at value i: four at a time from an aligned address, what is left one by one.
static std::size_t block_of(std::size_t i, std::size_t count, bool aligned, int threads, int blocks) {
  const std::size_t fours = aligned ? count / 4 : 0;
  return (i < 4 * fours ? i / 4 : i - 4 * fours) / threads % blocks;
}

// The values from `skip` on.
static void test(harness::Report& report, const std::string& name, const std::vector<float>& values, std::size_t skip) {
  const std::size_t count = values.size() - skip;
  for (int threads : harness::block_sizes)
    for (int blocks : {1, 3, 64}) {
      std::vector<float> wanted(blocks, 0);
      for (std::size_t i = 0; i < count; ++i)
        if (!std::isfinite(values[skip + i])) wanted[block_of(i, count, skip == 0, threads, blocks)] = 1;
      harness::Device<float> device_values(values);
      harness::Device<int> flags(blocks);
      harness::launch("finite", jetpose_finite, blocks, threads, (const float*)device_values.get() + skip, (i64)count,
                      flags.get());
      const std::vector<int> got = flags.host();
      report.compare(name + " in " + std::to_string(blocks) + " blocks of " + std::to_string(threads),
                     std::vector<float>(got.begin(), got.end()), wanted, 0);
    }
}

// All 65536 halves, and those that are finite, from an aligned and from another address.
static void test_halves(harness::Report& report) {
  for (bool only_finite : {false, true})
    for (std::size_t skip : {0, 1})
      for (int threads : harness::block_sizes) {
        std::vector<unsigned short> halves;
        std::vector<float> wanted;
        for (unsigned bits = 0; bits < 0x10000; ++bits) {
          const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
          if (only_finite && exponent == 31) continue;
          const double size = exponent ? std::ldexp(1024 + mantissa, exponent - 25) : std::ldexp(mantissa, -24);
          const double value = exponent < 31 ? size : mantissa ? (double)NAN : (double)INFINITY;
          halves.push_back((unsigned short)bits);
          wanted.push_back((float)(bits & 0x8000 ? -value : value));
        }
        const std::size_t count = halves.size() - skip;
        harness::Device<unsigned short> values(halves);
        harness::Device<float> out(count);
        harness::Device<int> flags(3);
        harness::launch("finite_half", jetpose_finite_half, 3, threads, (const unsigned short*)values.get() + skip,
                        (i64)count, out.get(), flags.get());
        const std::string name = std::string(only_finite ? "finite" : "all") + " halves from " +
                                 std::to_string(skip) + " by " + std::to_string(threads);
        wanted.erase(wanted.begin(), wanted.begin() + skip);
        report.compare(name, out.host(), wanted, 0);
        const std::vector<int> got = flags.host();
        report.compare(name + ", flags", std::vector<float>{(float)(got[0] + got[1] + got[2] > 0)},
                       std::vector<float>{only_finite ? 0.0f : 1.0f}, 0);
      }
}

int main() {
  harness::require_gpu();
  harness::Report report;
  test_halves(report);
  std::mt19937 random(1);
  for (std::size_t count : {1, 31, 32, 33, 4097, 40003})
    for (std::size_t skip : {0, 1}) {
      std::vector<float> values(count + skip);
      for (std::size_t i = 0; i < values.size(); ++i) values[i] = i % 2 ? 3.4e38f : -3.4e38f;
      const std::string name = std::to_string(count) + " values from " + std::to_string(skip);
      test(report, name, values, skip);
      for (float bad : {NAN, INFINITY, -INFINITY})
        for (std::size_t at : {skip, values.size() - 1, skip + random() % count}) {
          std::vector<float> broken = values;
          broken[at] = bad;
          test(report, name + ", one is not", broken, skip);
        }
      if (skip == 0) continue;
      values[0] = NAN;  // ahead of the first
      test(report, name + ", one ahead is not", values, skip);
    }
  return report.exit_code();
}
