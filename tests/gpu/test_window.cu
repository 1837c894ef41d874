// jetpose_window against the CPU build: odd sizes, broken maps and corners, several block sizes.
#include "harness.cuh"

static void test(harness::Report& report, int joints, window::Params p, bool broken) {
  const auto scene = harness::random_scene(1, joints, p.width, p.height, 31u * p.width + joints);
  auto fine = harness::heatmaps(scene, p.height);
  std::mt19937 random(joints);
  std::vector<float> corners(2 * joints), wanted;
  for (auto& corner : corners) corner = (float)(random() % 300) - 16.0f;
  if (broken) harness::spoil(fine), harness::spoil(corners);
  const std::size_t area = (std::size_t)p.width * p.height;
  for (int k = 0; k < joints; ++k) {
    const auto point = window::place(SerialGroup{}, p, &fine[k * area], &corners[2 * k]);
    wanted.insert(wanted.end(), {point.x, point.y, point.score});
  }
  for (int threads : harness::block_sizes) {
    harness::Device<float> maps(fine), from(corners), out(3 * joints);
    harness::launch("window", jetpose_window, joints, threads, (const float*)maps.get(), (const float*)from.get(), p,
                    out.get());
    const std::string name = std::to_string(p.width) + "x" + std::to_string(p.height) + (broken ? " broken " : " ");
    report.compare(name + std::to_string(threads), out.host(), wanted, 0);
  }
}

int main() {
  harness::require_gpu();
  harness::Report report;
  const window::Params sizes[] = {{36, 36, 1.0f}, {17, 5, 0.5f}, {1, 1, 4.0f}, {90, 3, 2.0f}};
  for (const auto& p : sizes)
    for (int broken = 0; broken < 2; ++broken) test(report, 14, p, broken);
  return report.exit_code();
}
