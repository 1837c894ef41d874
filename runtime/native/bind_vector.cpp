#include "bind_launch.hpp"
#include "vector.cuh"

namespace jetpose {
namespace {

void place(Array<const float, 3> values, Array<const float, 3> boxes, int from_corner, Array<float, 3> out) {
  const std::size_t n = values.shape(0), k = values.shape(1);
  require(values.shape(2) == 2, "vector: values must be (N, K, 2)");
  require(boxes.shape(0) == n && boxes.shape(1) == k && boxes.shape(2) == 4, "vector: boxes must be (N, K, 4)");
  require(out.shape(0) == n && out.shape(1) == k && out.shape(2) == 3, "vector: out must be (N, K, 3)");
  require(n * k < (std::size_t(1) << 28), "vector: too many keypoints");
  const auto* from = reinterpret_cast<const vector::Box*>(boxes.data());
  run([&](const auto& g) { vector::place(g, values.data(), from, from_corner, (int)(n * k), out.data()); });
}

void cascade_boxes(Array<const float, 3> keypoints, int first, int second, float sigma, Array<float, 3> out) {
  const std::size_t n = keypoints.shape(0), k = keypoints.shape(1);
  require(keypoints.shape(2) == 3, "cascade boxes: keypoints must be (N, K, 3)");
  require(out.shape(0) == n && out.shape(1) == k && out.shape(2) == 4, "cascade boxes: out must be (N, K, 4)");
  require(first >= 0 && second >= 0 && (std::size_t)first < k && (std::size_t)second < k, "cascade boxes: torso");
  auto* to = reinterpret_cast<vector::Box*>(out.data());
  run([&](const auto& g) {
    for (std::size_t i = 0; i < n; ++i)
      vector::boxes(g, keypoints.data() + 3 * i * k, (int)k, first, second, sigma, to + i * k);
  });
}

// values (2 K,): x and y of each keypoint, all in one box
Plan plan(DeviceArray<1> values, std::array<float, 4> box, int from_corner, int block, std::uintptr_t base) {
  check_block(block);
  const float* from = data_of(values, "vector: wanted an address and a shape");
  const int joints = values.second[0] / 2;
  require(values.second[0] == 2 * joints, "vector: wanted x and y of each keypoint");
  const std::vector<vector::Box> same(joints, {box[0], box[1], box[2], box[3]});
  Arena arena(base);
  const vector::Box* boxes = arena.keep(same.data(), same.size());
  float* out = arena.take<float>(3 * (std::size_t)joints);
  return finish_single(
      arena, out, {JP_LAUNCH(jetpose_vector, along_x(1), along_x(block), from, boxes, from_corner, joints, out)});
}

}  // namespace

void bind_vector(nb::module_& m) {
  m.def("vector", &place);
  m.def("cascade_boxes", &cascade_boxes);
  m.def("plan_vector", &plan);
}

}  // namespace jetpose
