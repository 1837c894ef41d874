// Everything that ends in non-maximum suppression: boxes, and boxes with keypoints.
#include "bind_launch.hpp"
#include "boxes.cuh"
#include "yolo_pose.cuh"

namespace jetpose {
namespace {

constexpr i64 kMaxAnchors = 1 << 22;

nms::Params parameters(float min_score, float max_iou, int max_people) {
  require(max_people > 0 && max_people <= 4096, "nms: max_people");
  return {min_score, max_iou, max_people};
}

template <class Source>
int decode(const Source& source, const nms::Params& p, Array<float, 3> keypoints, Array<float, 1> scores) {
  require(keypoints.shape(0) == (std::size_t)p.max_people && keypoints.shape(1) == (std::size_t)source.joints() &&
              keypoints.shape(2) == 3 && scores.shape(0) == (std::size_t)p.max_people,
          "nms: results must be (max_people, K, 3) and (max_people,)");
  Scratch scratch;
  nms::Memory memory;
  memory.keys = scratch.take<u64>(source.count);
  memory.boxes = scratch.take<nms::Box>(source.count);
  memory.anchors = scratch.take<int>(source.count);
  memory.kept = scratch.take<int>(p.max_people);
  const nms::People people{scores.data(), keypoints.data()};
  int found = 0;
  run([&](const auto& g) {
    const int all = nms::decode(g, source, p, memory, people);
    if (g.rank() == 0) found = all;
  });
  return found;
}

template <class Source, class Kernel>
Plan plan(const Source& source, const nms::Params& p, std::uintptr_t base, const Kernel& launch) {
  Arena arena(base);
  nms::Memory memory;
  memory.keys = arena.take<u64>(source.count);
  memory.boxes = arena.take<nms::Box>(source.count);
  memory.anchors = arena.take<int>(source.count);
  memory.kept = arena.take<int>(p.max_people);
  const PeopleResult result(arena, p.max_people, source.joints());
  return finish_people(arena, result, {launch(memory, nms::People{result.scores, result.keypoints}, result.count)});
}

// ---- boxes ------------------------------------------------------------------------------------------------------

int cells_of(int width, int height) {
  int cells = 0;
  for (int stride = 8; stride <= 32; stride *= 2) cells += (width / stride) * (height / stride);
  return cells;
}

void check(const boxes::Source& s) {
  require(s.layout >= boxes::kYolox && s.layout <= boxes::kCentreMap, "boxes: layout");
  require(s.count >= 0 && s.count <= kMaxAnchors && s.width >= 0 && s.height >= 0, "boxes: size");
  require(s.width < (1 << 15) && s.height < (1 << 15), "boxes: size");
  if (s.layout <= boxes::kYoloxDecoded)
    require(s.person >= 0 && s.values - 5 > s.person, "boxes: a row must hold the class of people");
  else if (s.layout == boxes::kCentreMap)
    require(s.count == s.width * s.height, "boxes: size of the map");
  else
    require(s.values >= (s.layout == boxes::kRtmdet ? 5 : 4), "boxes: values of a row");
  if (s.layout == boxes::kYolox) require(s.count == cells_of(s.width, s.height), "boxes: cells of the input");
}

// The numbers of a Source, in its order; Python knows them by name.
using Numbers = std::array<int, 7>;    // layout, count, values, person, width, height, logits
using Factors = std::array<float, 6>;  // scale, shift and stride in x and y

boxes::Source source_of(const Numbers& n, const Factors& f, const float* first, const float* second,
                        const float* third) {
  const boxes::Source source{first, second, third, n[0], n[1], n[2], n[3], n[4], n[5],
                             n[6],  f[0],   f[1],  f[2], f[3], f[4], f[5]};
  check(source);
  return source;
}

// How many values of each array the layout reads.
std::array<i64, 3> sizes_of(const boxes::Source& s) {
  const i64 count = s.count;
  switch (s.layout) {
    case boxes::kRtmdet: return {count * s.values, count, 0};
    case boxes::kTorchvision: return {count * s.values, count, count};
    case boxes::kCentreMap: return {count, 4 * count, 0};
    default: return {count * s.values, 0, 0};
  }
}

int decode_boxes(Numbers numbers, Factors factors, Array<const float, 1> first, Array<const float, 1> second,
                 Array<const float, 1> third, float min_score, float max_iou, int max_people, Array<float, 3> keypoints,
                 Array<float, 1> scores) {
  const boxes::Source source = source_of(numbers, factors, first.data(), second.data(), third.data());
  const auto sizes = sizes_of(source);
  require((i64)first.shape(0) >= sizes[0] && (i64)second.shape(0) >= sizes[1] && (i64)third.shape(0) >= sizes[2],
          "boxes: too few values");
  return decode(source, parameters(min_score, max_iou, max_people), keypoints, scores);
}

Plan plan_boxes(Numbers numbers, Factors factors, std::array<std::uintptr_t, 3> addresses, float min_score,
                float max_iou, int max_people, int block, std::uintptr_t base) {
  check_block(block);
  std::array<const float*, 3> data{};
  for (int i = 0; i < 3; ++i) {
    require(addresses[i] % alignof(float) == 0, "boxes: wanted an address");
    data[i] = reinterpret_cast<const float*>(addresses[i]);
  }
  const boxes::Source source = source_of(numbers, factors, data[0], data[1], data[2]);
  const auto sizes = sizes_of(source);
  for (int i = 0; i < 3; ++i) require(sizes[i] == 0 || addresses[i] != 0, "boxes: wanted an address");
  const nms::Params p = parameters(min_score, max_iou, max_people);
  return plan(source, p, base, [&](const nms::Memory& memory, const nms::People& people, int* count) {
    return JP_LAUNCH(jetpose_boxes, along_x(1), along_x(block), source, p, memory, people, count);
  });
}

// ---- boxes with keypoints ---------------------------------------------------------------------------------------

// values: (rows, count) of anchors, (count, rows) end to end
yolo_pose::Source pose_source(const float* values, i64 rows, i64 count, int keypoints, int classes, bool end_to_end) {
  require(count >= 0 && count <= kMaxAnchors, "yolo pose: number of anchors");
  require(keypoints > 0 && keypoints <= 4096 && classes > 0 && classes <= 65536, "yolo pose: keypoints and classes");
  const yolo_pose::Source source{values, (int)count, keypoints, classes, end_to_end};
  require(source.rows() == rows, "yolo pose: rows");
  return source;
}

int decode_pose(Array<const float, 2> values, int keypoints, int classes, bool end_to_end, float min_score,
                float max_iou, int max_people, Array<float, 3> out, Array<float, 1> scores) {
  const yolo_pose::Source source = pose_source(values.data(), values.shape(end_to_end), values.shape(!end_to_end),
                                               keypoints, classes, end_to_end);
  return decode(source, parameters(min_score, max_iou, max_people), out, scores);
}

Plan plan_pose(DeviceArray<2> values, int keypoints, int classes, bool end_to_end, float min_score, float max_iou,
               int max_people, int block, std::uintptr_t base) {
  check_block(block);
  const float* from = data_of(values, "yolo pose: wanted an address and a shape");
  const yolo_pose::Source source =
      pose_source(from, values.second[end_to_end], values.second[!end_to_end], keypoints, classes, end_to_end);
  const nms::Params p = parameters(min_score, max_iou, max_people);
  return plan(source, p, base, [&](const nms::Memory& memory, const nms::People& people, int* count) {
    return JP_LAUNCH(jetpose_yolo_pose, along_x(1), along_x(block), source, p, memory, people, count);
  });
}

}  // namespace

void bind_boxes(nb::module_& m) {
  m.def("boxes", &decode_boxes);
  m.def("plan_boxes", &plan_boxes);
  m.def("yolo_pose", &decode_pose);
  m.def("plan_yolo_pose", &plan_pose);
}

}  // namespace jetpose
