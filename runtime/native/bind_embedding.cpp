#include "bind_launch.hpp"
#include "embedding_memory.hpp"

namespace jetpose {
namespace {

#ifdef JETPOSE_LANES
constexpr int kLanes = JETPOSE_LANES;
#else
constexpr int kLanes = 1;
#endif

// Without the tags' components.
embedding::Params make_params(Array<const int, 1> order, int window, int max_people, double threshold,
                              double tag_threshold, bool use_detection_val, bool ignore_too_much, bool rms,
                              bool adjust, bool refine, bool refined_one) {
  embedding::Params p{};
  p.joints = (int)order.shape(0);
  require(p.joints >= 1 && p.joints <= embedding::kMaxJoints, "embedding: joints");
  for (int i = 0; i < p.joints; ++i) {
    p.order[i] = order.data()[i];
    require(p.order[i] >= 0 && p.order[i] < p.joints, "embedding: joint order");
    for (int j = 0; j < i; ++j) require(p.order[j] != p.order[i], "embedding: joint order");
  }
  require(window >= 1 && window <= embedding::kMaxWindow && window % 2 == 1, "embedding: window");
  require(max_people >= 1 && max_people <= embedding::kMaxPeople, "embedding: max_people");
  require(threshold >= 0, "embedding: threshold");
  p.window = window;
  p.max_people = max_people;
  p.threshold = threshold;
  p.tag_threshold = tag_threshold;
  p.use_detection_val = use_detection_val;
  p.ignore_too_much = ignore_too_much;
  p.rms = rms;
  p.adjust = adjust;
  p.refine = refine;
  p.refined_one = refined_one;
  return p;
}

template <class Source>
int decode(const embedding::Params& p, const Source& source, Array<float, 3> keypoints, Array<float, 3> tags,
           Array<float, 1> scores) {
  const std::size_t capacity = embedding::people_capacity(p), k = p.joints;
  require(source.width > 0 && source.height > 0, "embedding: empty maps");
  require((i64)source.width * source.height < 1ll << 31, "embedding: maps too large");
  require(keypoints.shape(0) == capacity && keypoints.shape(1) == k && keypoints.shape(2) == 3, "embedding: keypoints");
  require(tags.shape(0) == capacity && tags.shape(1) == k && tags.shape(2) == (std::size_t)p.components,
          "embedding: tags");
  require(scores.shape(0) == capacity, "embedding: scores");
  const embedding::People people{keypoints.data(), tags.data(), scores.data()};
  Scratch scratch;
  const embedding::Work work = embedding::work_memory(scratch, p, source.width, source.height, kLanes);
  int count = 0;
  run([&](const auto& g) {
    const int found = embedding::decode(g, p, source, work, people);
    if (g.rank() == 0) count = found;
  });
  return count;
}

// heatmaps (K, H, W), tags (K or 1, H, W, T).
int decode_maps(embedding::Params p, Array<const float, 3> heatmaps, Array<const float, 4> tags,
                Array<float, 3> keypoints, Array<float, 3> out_tags, Array<float, 1> scores) {
  p.components = (int)tags.shape(3);
  require(p.components >= 1 && p.components <= embedding::kMaxComponents, "embedding: tag components");
  require(heatmaps.shape(0) == (std::size_t)p.joints, "embedding: heatmaps");
  require((tags.shape(0) == heatmaps.shape(0) || tags.shape(0) == 1) && tags.shape(1) == heatmaps.shape(1) &&
              tags.shape(2) == heatmaps.shape(2),
          "embedding: tags");
  embedding::MapSource source{heatmaps.data(), tags.data(), (int)heatmaps.shape(2), (int)heatmaps.shape(1),
                              p.components, 0};
  if (tags.shape(0) > 1) source.tag_stride = (i64)source.width * source.height * p.components;
  return decode(p, source, keypoints, out_tags, scores);
}

// One output of the network, on the host or on the device.
struct Maps {
  const float* data;
  std::array<int, 3> shape;  // channels, height, width
};
Maps maps_of(const Array<const float, 3>& a) {
  for (int i = 0; i < 3; ++i) require(a.shape(i) < 1u << 31, "embedding: maps too large");
  return {a.data(), {(int)a.shape(0), (int)a.shape(1), (int)a.shape(2)}};
}

// coarse (K, h, w), fine (K, h2, w2) or without data, tags (K or 1, h, w); decoded at width x height.
embedding::OutputSource make_source(const embedding::Params& p, const Maps& coarse, const Maps& fine, const Maps& tags,
                                    int width, int height) {
  require(coarse.shape[0] == p.joints && coarse.shape[1] > 0 && coarse.shape[2] > 0, "embedding: coarse heatmaps");
  require((tags.shape[0] == p.joints || tags.shape[0] == 1) && tags.shape[1] == coarse.shape[1] &&
              tags.shape[2] == coarse.shape[2],
          "embedding: tags");
  const bool two = fine.data != nullptr;
  require(!two || fine.shape[0] == p.joints, "embedding: fine heatmaps");
  embedding::OutputSource source{};
  source.coarse = coarse.data;
  source.fine = fine.data;
  source.tags = tags.data;
  const int coarse_height = coarse.shape[1], coarse_width = coarse.shape[2];
  const int middle_height = two ? fine.shape[1] : coarse_height, middle_width = two ? fine.shape[2] : coarse_width;
  require(coarse_width <= middle_width && middle_width <= width && coarse_height <= middle_height &&
              middle_height <= height,
          "embedding: sizes must grow from output to output");
  require((i64)width * height < 1ll << 31, "embedding: maps too large");
  source.x1 = embedding::axis(coarse_width, middle_width);
  source.y1 = embedding::axis(coarse_height, middle_height);
  source.x2 = embedding::axis(middle_width, width);
  source.y2 = embedding::axis(middle_height, height);
  source.width = width;
  source.height = height;
  source.tag_stride = tags.shape[0] > 1 ? (i64)coarse_width * coarse_height : 0;
  return source;
}

// fine: empty where there is none.
int decode_outputs(embedding::Params p, Array<const float, 3> coarse, Array<const float, 3> fine,
                   Array<const float, 3> tags, int width, int height, Array<float, 3> keypoints,
                   Array<float, 3> out_tags, Array<float, 1> scores) {
  p.components = 1;
  const Maps second = fine.size() > 0 ? maps_of(fine) : Maps{};
  return decode(p, make_source(p, maps_of(coarse), second, maps_of(tags), width, height), keypoints, out_tags, scores);
}

// heatmaps: one, or a coarse and a fine output.
Plan plan(embedding::Params p, const std::vector<DeviceArray<3>>& heatmaps, DeviceArray<3> tags, int width, int height,
          int block, std::uintptr_t base) {
  check_block(block);
  require(heatmaps.size() == 1 || heatmaps.size() == 2, "heatmaps: wanted one, or a coarse and a fine output");
  p.components = 1;
  Maps maps[2] = {};
  for (std::size_t i = 0; i < heatmaps.size(); ++i)
    maps[i] = {data_of(heatmaps[i], "heatmaps: wanted an address and a shape"), heatmaps[i].second};
  const Maps tag{data_of(tags, "tags: wanted an address and a shape"), tags.second};
  const embedding::OutputSource source = make_source(p, maps[0], maps[1], tag, width, height);
  const std::size_t joints = p.joints, capacity = embedding::people_capacity(p);
  Arena arena(base);
  const embedding::Work work = embedding::work_memory(arena, p, width, height, block);
  float* own_tags = arena.take<float>(capacity * joints);
  const PeopleResult result(arena, capacity, joints);
  const embedding::People people{result.keypoints, own_tags, result.scores};
  const Size3 one = along_x(1), all = along_x(p.joints), threads = along_x(block);
  std::vector<Launch> launches{
      JP_LAUNCH(jetpose_embedding_peaks_outputs, all, threads, source, p, work),
      JP_LAUNCH(jetpose_embedding_group_outputs, one, threads, source, p, work, people, result.count)};
  if (p.refine)
    launches.push_back(
        JP_LAUNCH(jetpose_embedding_refine_outputs, all, threads, source, p, work, people, result.count));
  return finish_people(arena, result, std::move(launches));
}

// Bilinear, half-pixel centres: maps (C, h, w) to out (C, H, W).
void resize(Array<const float, 3> maps, Array<float, 3> out) {
  require(maps.shape(0) == out.shape(0) && maps.size() > 0, "resize: shapes");
  const embedding::Axis x = embedding::axis((int)maps.shape(2), (int)out.shape(2));
  const embedding::Axis y = embedding::axis((int)maps.shape(1), (int)out.shape(1));
  const int count = (int)maps.shape(0);
  const float* from = maps.data();
  float* to = out.data();
  run([&](const auto& g) {
    for (int i = g.rank(); i < count; i += g.size())
      embedding::resize_map(from + (i64)i * x.from * y.from, x, y, to + (i64)i * x.to * y.to);
  });
}

}  // namespace

void bind_embedding(nb::module_& m) {
  nb::class_<embedding::Params>(m, "EmbeddingParams");
  m.def("embedding_params", &make_params);
  m.def("embedding_maps", &decode_maps);
  m.def("embedding_outputs", &decode_outputs);
  m.def("plan_embedding", &plan);
  m.def("resize_maps", &resize);
}

}  // namespace jetpose
