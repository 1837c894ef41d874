// jetpose_yolo_pose against the CPU build, both layouts: crowds, several classes, nobody, broken values.
#include "test_nms.cuh"

static std::vector<float> rows(int count, int keypoints, int classes, bool end_to_end, unsigned seed) {
  std::mt19937 random(seed);
  const auto unit = [&] { return (float)(random() % 1024) / 1024; };
  const int width = (end_to_end ? 6 : 4 + classes) + 3 * keypoints;
  std::vector<float> values((std::size_t)width * count);
  for (int i = 0; i < count; ++i) {
    std::vector<float> row{300 * unit(), 200 * unit(), 30 + 60 * unit(), 40 + 90 * unit()};
    if (end_to_end) row[2] += row[0], row[3] += row[1];
    for (int c = 0; c < (end_to_end ? 1 : classes); ++c) row.push_back((float)(random() % 9) / 9);
    if (end_to_end) row.push_back((float)(random() % classes));
    for (int j = 0; j < 3 * keypoints; ++j) row.push_back(100 * unit());
    for (int j = 0; j < width; ++j)
      values[end_to_end ? (std::size_t)i * width + j : (std::size_t)j * count + i] = row[j];
  }
  return values;
}

static void test(harness::Report& report, int count, int classes, bool end_to_end, nms::Params p, bool broken) {
  const int keypoints = 17;
  auto values = rows(count, keypoints, classes, end_to_end, 7 * count + classes);
  if (broken) harness::spoil(values);
  const std::string name = std::to_string(count) + (end_to_end ? " end to end" : " anchors") +
                           (p.min_score > 1 ? " nobody" : "") + (broken ? " broken" : "");
  compare_nms(report, name, p, 0,
              [&](auto& pool) {
                return yolo_pose::Source{pool.with(values), count, keypoints, classes, end_to_end};
              },
              jetpose_yolo_pose);
}

int main() {
  harness::require_gpu();
  harness::Report report;
  const nms::Params usual{0.3f, 0.65f, 30}, few{0.1f, 1.0f, 2}, nobody{2.0f, 0.5f, 5};
  for (int end_to_end = 0; end_to_end < 2; ++end_to_end)
    for (int broken = 0; broken < 2; ++broken) {
      test(report, 300, 1, end_to_end, usual, broken);
      test(report, 65, 3, end_to_end, few, broken);
      test(report, 40, 2, end_to_end, nobody, broken);
      test(report, 1, 1, end_to_end, usual, broken);
    }
  return report.exit_code();
}
