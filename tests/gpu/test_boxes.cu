// jetpose_boxes against the CPU build, each layout: crowds, more people than fit, nobody, broken values, equal scores.
#include "test_nms.cuh"

// Boxes of a crowd in every layout. Scores have few levels, so that equal ones meet.
struct Detections {
  boxes::Source source;
  std::vector<float> first, second, third;
};

static Detections of_layout(int layout, int width, int height, bool logits, unsigned seed) {
  std::mt19937 random(seed);
  const auto unit = [&] { return (float)(random() % 1024) / 1024; };
  const auto level = [&] { return (float)(random() % 12) / 12; };
  Detections d;
  boxes::Source& s = d.source = {};
  s.layout = layout, s.width = width, s.height = height, s.logits = logits;
  s.scale_x = s.stride_x = 8, s.scale_y = s.stride_y = 4, s.shift_x = 3.5f, s.shift_y = 1.5f;
  s.count = width * height;
  if (layout == boxes::kYolox)
    s.count = (width / 8) * (height / 8) + (width / 16) * (height / 16) + (width / 32) * (height / 32);
  s.values = layout <= boxes::kYoloxDecoded ? 5 + 3 : layout == boxes::kRtmdet ? 5 : 4;
  s.person = 1;
  for (int i = 0; i < s.count; ++i) {
    const float x = 200 * unit(), y = 200 * unit(), w = 20 + 60 * unit(), h = 20 + 90 * unit();
    switch (layout) {
      case boxes::kYolox: d.first.insert(d.first.end(), {unit(), unit(), 3 * unit(), 4 * unit()}); break;
      case boxes::kYoloxDecoded: d.first.insert(d.first.end(), {x, y, w, h}); break;
      case boxes::kCentreMap: d.first.push_back(logits ? 12 * level() - 6 : level()); break;
      default: d.first.insert(d.first.end(), {x - w / 2, y - h / 2, x + w / 2, y + h / 2});
    }
    if (layout <= boxes::kYoloxDecoded) d.first.insert(d.first.end(), {level(), level(), level(), level()});
    if (layout == boxes::kRtmdet) d.first.push_back(level());
    if (layout == boxes::kTorchvision) d.second.push_back(level());
    (layout == boxes::kTorchvision ? d.third : d.second).push_back((float)(random() % 3));
  }
  if (layout == boxes::kCentreMap) {
    d.second.resize(4 * s.count);
    for (auto& v : d.second) v = 8 * unit();
  }
  return d;
}

static void test(harness::Report& report, const std::string& name, Detections d, nms::Params p, bool broken) {
  if (broken) harness::spoil(d.first), harness::spoil(d.second);
  const auto placed = [&](const float* first, const float* second, const float* third) {
    boxes::Source source = d.source;
    source.first = first, source.second = second, source.third = third;
    return source;
  };
  const bool exact = d.source.layout != boxes::kYolox && !d.source.logits;  // expf differs in the last bits
  compare_nms(report, name + (broken ? " broken" : ""), p, exact ? 0 : 1e-3,
              [&](auto& pool) { return placed(pool.with(d.first), pool.with(d.second), pool.with(d.third)); },
              jetpose_boxes);
}

int main() {
  harness::require_gpu();
  harness::Report report;
  const nms::Params usual{0.3f, 0.45f, 40}, few{0.1f, 0.9f, 3}, nobody{2.0f, 0.5f, 5};
  for (int layout = boxes::kYolox; layout <= boxes::kCentreMap; ++layout)
    for (int broken = 0; broken < 2; ++broken) {
      const int side = layout == boxes::kYolox ? 96 : 17;
      const std::string name = "layout " + std::to_string(layout);
      test(report, name, of_layout(layout, side, side + 16, false, layout), usual, broken);
      test(report, name + " few", of_layout(layout, side + 16, side, false, layout + 9), few, broken);
      test(report, name + " nobody", of_layout(layout, side, side, false, layout + 5), nobody, broken);
    }
  test(report, "logits", of_layout(boxes::kCentreMap, 40, 30, true, 3), usual, false);
  test(report, "logits", of_layout(boxes::kCentreMap, 40, 30, true, 4), usual, true);
  return report.exit_code();
}
