#include "bind_embedding.hpp"
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

embedding::Maps maps_of(const Array<const float, 3>& a) {
  for (int i = 0; i < 3; ++i) require(a.shape(i) < 1u << 31, "embedding: maps too large");
  return {a.data(), {(int)a.shape(0), (int)a.shape(1), (int)a.shape(2)}};
}

// fine: empty where there is none.
int decode_outputs(embedding::Params p, Array<const float, 3> coarse, Array<const float, 3> fine,
                   Array<const float, 3> tags, int width, int height, Array<float, 3> keypoints,
                   Array<float, 3> out_tags, Array<float, 1> scores) {
  p.components = 1;
  const embedding::Maps second = fine.size() > 0 ? maps_of(fine) : embedding::Maps{};
  return decode(p, embedding::make_source(p, maps_of(coarse), second, maps_of(tags), width, height), keypoints, out_tags, scores);
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
  m.def("plan_embedding", &plan_embedding);
  m.def("resize_maps", &resize);
}

}  // namespace jetpose
