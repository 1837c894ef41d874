// jetpose_offset against the CPU build: probabilities and logits, votes beyond the map, broken maps, odd sizes.
#include "harness.cuh"

static void test(harness::Report& report, int width, int height, bool logits, bool broken) {
  const int joints = 5;
  const std::size_t area = (std::size_t)width * height;
  const offset::Params p{width, height, logits, 4.0f};
  const auto scene = harness::random_scene(2, joints, width, height, 3 * width + height);
  auto heat = harness::heatmaps(scene, 1, 3.0f);
  std::vector<float> offsets(2 * joints * area);
  std::mt19937 random(width);
  std::normal_distribution<float> normal(0, 1);
  for (int k = 0; k < joints; ++k)  // towards the first person, more or less
    for (std::size_t i = 0; i < area; ++i) {
      offsets[2 * k * area + i] = scene.x[k] - i % width + normal(random);
      offsets[(2 * k + 1) * area + i] = scene.y[k] - i / width + normal(random);
    }
  if (logits)
    for (auto& v : heat) v = 12 * v - 6;
  if (broken) {
    harness::spoil(heat);
    harness::spoil(offsets);
  }
  for (std::size_t i = 0; i < area && !logits; ++i) heat[i] = 0;  // nobody votes for the first joint
  std::vector<u64> votes(area);
  std::vector<float> fused(joints * area), wanted;
  for (int k = 0; k < joints; ++k) {
    const auto peak = offset::decode(SerialGroup{}, p, &heat[k * area], &offsets[2 * k * area], votes.data(),
                                     &fused[k * area]);
    wanted.insert(wanted.end(), {peak.x, peak.y, peak.score});
  }
  const std::string name = std::to_string(width) + "x" + std::to_string(height) + (logits ? " logits" : "") +
                           (broken ? " broken " : " ");
  for (int threads : harness::block_sizes) {
    harness::Device<float> device_heat(heat), device_offsets(offsets), device_fused(joints * area), out(3 * joints);
    harness::Device<u64> device_votes(joints * area);
    harness::launch("offset", jetpose_offset, joints, threads, (const float*)device_heat.get(),
                    (const float*)device_offsets.get(), p, device_votes.get(), device_fused.get(), out.get());
    const double allowed = logits ? 1e-3 : 0;  // expf differs in the last bits
    report.compare(name + std::to_string(threads) + " fused", device_fused.host(), fused, allowed);
    report.compare(name + std::to_string(threads) + " peaks", out.host(), wanted, allowed);
  }
}

int main() {
  harness::require_gpu();
  harness::Report report;
  const int sizes[][2] = {{33, 41}, {64, 48}, {1, 1}, {3, 90}};
  for (const auto& size : sizes)
    for (int logits = 0; logits < 2; ++logits)
      for (int broken = 0; broken < 2; ++broken) test(report, size[0], size[1], logits, broken);
  return report.exit_code();
}
