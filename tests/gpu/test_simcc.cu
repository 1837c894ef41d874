// jetpose_simcc against the CPU build: odd lengths, equal maxima, broken rows, several block sizes.
#include "harness.cuh"

static void test(harness::Report& report, int joints, int width, int height, float split, bool broken) {
  std::mt19937 random(97u * width + height);
  std::uniform_int_distribution<int> level(-3, 40);  // few levels: equal maxima, and joints that are missing
  std::vector<float> xs((std::size_t)joints * width), ys((std::size_t)joints * height), wanted;
  for (auto& v : xs) v = 0.25f * level(random);
  for (auto& v : ys) v = 0.25f * level(random);
  if (broken) harness::spoil(xs), harness::spoil(ys);
  for (int k = 0; k < joints; ++k) {
    const auto point =
        simcc::decode(SerialGroup{}, &xs[(std::size_t)k * width], width, &ys[(std::size_t)k * height], height, split);
    wanted.insert(wanted.end(), {point.x, point.y, point.score});
  }
  for (int threads : harness::block_sizes) {
    harness::Device<float> from_x(xs), from_y(ys), out(3 * joints);
    harness::launch("simcc", jetpose_simcc, joints, threads, (const float*)from_x.get(), width,
                    (const float*)from_y.get(), height, split, out.get());
    const std::string name = std::to_string(width) + "x" + std::to_string(height) + (broken ? " broken " : " ");
    report.compare(name + std::to_string(threads), out.host(), wanted, 0);
  }
}

int main() {
  harness::require_gpu();
  harness::Report report;
  const int sizes[][2] = {{384, 512}, {31, 33}, {1, 1}, {7, 640}};
  for (const auto& size : sizes)
    for (int broken = 0; broken < 2; ++broken) test(report, 17, size[0], size[1], 2.0f, broken);
  return report.exit_code();
}
