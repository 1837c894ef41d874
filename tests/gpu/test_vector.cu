// jetpose_vector and jetpose_cascade_boxes against the CPU build: missing joints and boxes, nobody, several
// block sizes.
#include "harness.cuh"

static std::vector<float> random_values(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> values(count);
  for (auto& v : values) v = normal(random);
  harness::spoil(values);
  return values;
}

static void test(harness::Report& report, int people, int joints, int from_corner) {
  const int count = people * joints;
  const std::string name = std::to_string(people) + " people of " + std::to_string(joints) + " joints ";
  const auto values = random_values(2 * count, count), keypoints = random_values(3 * count, count + 1);
  std::vector<vector::Box> boxes(count);
  const auto numbers = random_values(4 * count, count + 2);
  if (count > 0) std::memcpy(boxes.data(), numbers.data(), count * sizeof boxes[0]);
  std::vector<float> placed(3 * count);
  std::vector<vector::Box> next(count);
  vector::place(SerialGroup{}, values.data(), boxes.data(), from_corner, count, placed.data());
  for (int i = 0; i < people; ++i)
    vector::boxes(SerialGroup{}, &keypoints[3 * i * joints], joints, 1, joints - 1, 1.5f, &next[i * joints]);
  std::vector<float> wanted(4 * count);
  if (count > 0) std::memcpy(wanted.data(), next.data(), wanted.size() * sizeof(float));
  for (int threads : harness::block_sizes) {
    harness::Device<float> device_values(values), device_keypoints(keypoints), out(3 * count), device_next(4 * count);
    harness::Device<vector::Box> device_boxes(boxes);
    harness::launch("vector", jetpose_vector, 1, threads, (const float*)device_values.get(),
                    (const vector::Box*)device_boxes.get(), from_corner, count, out.get());
    report.compare(name + std::to_string(threads), out.host(), placed, 0);
    if (people == 0) continue;  // a grid has at least one block
    harness::launch("cascade_boxes", jetpose_cascade_boxes, people, threads, (const float*)device_keypoints.get(),
                    joints, 1, joints - 1, 1.5f, (vector::Box*)device_next.get());
    report.compare(name + std::to_string(threads) + " boxes", device_next.host(), wanted, 0);
  }
}

int main() {
  harness::require_gpu();
  harness::Report report;
  for (int people : {0, 1, 7, 40})
    for (int from_corner = 0; from_corner < 2; ++from_corner) test(report, people, from_corner ? 17 : 3, from_corner);
  return report.exit_code();
}
