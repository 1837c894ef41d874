#include "bind.hpp"
#include "paf.cuh"

namespace jetpose {
namespace {

using Ints = Array<const int, 1>;
using Floats2 = Array<const float, 2>;

// The tables of one operator; the arrays stay alive with it.
struct Tables {
  Ints x_first, y_first, search_y_first, search_x_first;
  Floats2 x_weights, y_weights, search_y_weights;
  Array<const float, 3> search_x_weights;
  paf::Sampling sampling;
};

paf::Axis axis(const Ints& first, const Floats2& weights, int cells) {
  const int size = (int)first.shape(0), taps = (int)weights.shape(1);
  require(size > 0 && (int)weights.shape(0) == size && taps > 0 && taps <= cells, "paf: tables do not fit");
  for (int i = 0; i < size; ++i) {
    const int at = first.data()[i];
    require(at >= (i ? first.data()[i - 1] : 0) && at + taps <= cells, "paf: table reads beyond the map");
  }
  return {first.data(), weights.data(), taps, size};
}

Tables make_tables(int width, int height, Ints x_first, Floats2 x_weights, Ints y_first, Floats2 y_weights,
                   Ints search_y_first, Floats2 search_y_weights, Ints search_x_first,
                   Array<const float, 3> search_x_weights, float rise, float fall) {
  require(width > 0 && height > 0, "paf: empty maps");
  Tables t{x_first, y_first, search_y_first, search_x_first, x_weights, y_weights, search_y_weights,
           search_x_weights, {}};
  paf::Sampling& s = t.sampling;
  s.width = width;
  s.height = height;
  s.x = axis(t.x_first, t.x_weights, width);
  s.y = axis(t.y_first, t.y_weights, height);
  s.search_y = axis(t.search_y_first, t.search_y_weights, height);
  s.search_x = {t.search_x_first.data(), t.search_x_weights.data(), (int)search_x_weights.shape(1),
                (int)search_x_weights.shape(0)};
  require((int)search_x_first.shape(0) == s.search_x.count && (int)search_x_weights.shape(2) == paf::kTile &&
              s.search_x.count * paf::kCore >= s.x.size && s.search_y.size == s.y.size,
          "paf: tables do not fit");
  for (int b = 0; b < s.search_x.count; ++b)
    require(s.search_x.first[b] >= 0 && s.search_x.first[b] + s.search_x.span <= width,
            "paf: table reads beyond the map");
  s.rise = rise;
  s.fall = fall;
  return t;
}

struct Work {
  paf::PeakMemory peaks;
  paf::LimbMemory limbs;
  paf::PeopleMemory people;
};

Work work_memory(const paf::Params& p, const paf::Sampling& s) {
  const std::size_t m = p.max_peaks, k = p.parts, l = p.limbs;
  const bool optimal = p.profile == paf::kTrtPose;
  const std::size_t persons = l * m;
  std::size_t keys = (std::size_t)paf::key_memory(p);
  if (!optimal && m * m > keys) keys = m * m;
  if (persons > keys) keys = persons;
  Work w{};
  u64 *first = scratch<u64, 0>(keys), *second = scratch<u64, 1>(keys);
  w.peaks = {scratch<float, 0>(paf::tile_memory(s)), first, second};
  float* prices = scratch<float, 1>(3 * m + (optimal ? m * m : 0));
  int* columns = scratch<int, 0>(3 * m);
  u8* marks = scratch<u8, 0>(3 * m);
  w.limbs = {first, second, marks, prices + 3 * m,
             {prices, prices + m, prices + 2 * m, columns, columns + m, columns + 2 * m, marks + 2 * m}};
  int* ids = scratch<int, 1>(optimal ? k + 1 : persons * (k + 1) + k + 1);
  w.people.crowd = {ids + k + 1, scratch<double, 0>(persons), ids + k + 1 + persons * k, first, second, ids, 0};
  int* partner = scratch<int, 2>(optimal ? l * 2 * m + k * m : 0);
  w.people.graph = {partner, partner + l * 2 * m, scratch<u8, 1>(k * m)};
  return w;
}

void check(const paf::Params& p, const Tables& t, const Array<const float, 3>& heat,
           const Array<const float, 3>& fields, const Array<const int, 2>& limbs) {
  const paf::Sampling& s = t.sampling;
  require((int)heat.shape(1) == s.height && (int)heat.shape(2) == s.width && (int)fields.shape(1) == s.height &&
              (int)fields.shape(2) == s.width && p.width == s.x.size && p.height == s.y.size,
          "paf: maps do not fit the tables");
  require(p.parts > 0 && p.parts <= (int)heat.shape(0) && p.limbs == (int)limbs.shape(0) && limbs.shape(1) == 5 &&
              p.max_peaks > 0 && p.max_people > 0 && p.samples > 1 && p.samples <= paf::kMaxSamples,
          "paf: parameters out of range");
  require(p.profile != paf::kTrtPose || (s.width == p.width && s.height == p.height), "paf: trt_pose enlarges nothing");
  for (int i = 0; i < p.limbs; ++i) {
    const int* limb = limbs.data() + 5 * i;
    require(limb[0] >= 0 && limb[0] < p.parts && limb[1] >= 0 && limb[1] < p.parts && limb[0] != limb[1] &&
                limb[2] >= 0 && limb[2] < (int)fields.shape(0) && limb[3] >= 0 && limb[3] < (int)fields.shape(0),
            "paf: limb out of range");
  }
}

void decode(const paf::Params& p, const Tables& t, Array<const float, 3> heat, Array<const float, 3> fields,
            Array<const int, 2> limbs, Array<float, 3> points, Array<int, 3> cells, Array<float, 2> searched,
            Array<int, 1> peak_counts, Array<int, 3> pairs, Array<float, 2> limb_scores, Array<int, 1> limb_counts,
            Array<int, 2> ids, Array<double, 1> sums, Array<int, 1> parts, Array<float, 3> keypoints,
            Array<float, 1> scores, Array<int, 1> total, nb::object graph) {
  check(p, t, heat, fields, limbs);
  const std::size_t k = p.parts, m = p.max_peaks, l = p.limbs, n = p.max_people;
  require(points.size() == k * m * 3 && cells.size() == k * m * 2 && searched.size() == k * m &&
              peak_counts.size() == k && pairs.size() == l * m * 2 && limb_scores.size() == l * m &&
              limb_counts.size() == l && ids.size() == n * k && sums.size() == n && parts.size() == n &&
              keypoints.size() == n * k * 3 && scores.size() == n && total.size() == 1,
          "paf: outputs do not fit");
  float* kept_graph = nullptr;  // (L, M, M)
  if (!graph.is_none()) {
    const auto array = nb::cast<Array<float, 3>>(graph);
    require(array.size() == l * m * m, "paf: graph does not fit");
    kept_graph = array.data();
  }
  const paf::Limb* limb = reinterpret_cast<const paf::Limb*>(limbs.data());
  const paf::Peaks peaks{points.data(), cells.data(), searched.data(), peak_counts.data()};
  const paf::Connections connections{pairs.data(), limb_scores.data(), limb_counts.data()};
  const paf::People people{ids.data(), sums.data(), parts.data(), keypoints.data(), scores.data(), total.data()};
  const float *maps = heat.data(), *pafs = fields.data();
  const paf::Sampling& s = t.sampling;
  const Work work = work_memory(p, s);
  run([&](const auto& g) {
    for (int i = 0; i < p.parts; ++i)
      paf::find_peaks(g, p, s, maps + (std::size_t)i * s.width * s.height, i, work.peaks, peaks);
    paf::LimbMemory memory = work.limbs;
    for (int i = 0; i < p.limbs; ++i) {
      if (kept_graph) memory.graph = kept_graph + i * m * m;
      paf::connect(g, p, s, pafs, limb[i], i, peaks, memory, connections);
    }
    paf::assemble(g, p, limb, peaks, connections, work.people, people);
  });
}

// Decoded pixels of all channels at every (y, x) of ys and xs; searched: of the maps that peaks are searched in.
void sample(const Tables& t, Array<const float, 3> maps, Ints xs, Ints ys, bool searched, Ints search_x_first,
            Floats2 search_x_weights, Array<float, 3> out) {
  const paf::Sampling& s = t.sampling;
  require((int)maps.shape(1) == s.height && (int)maps.shape(2) == s.width && out.shape(0) == maps.shape(0) &&
              out.shape(1) == ys.shape(0) && out.shape(2) == xs.shape(0),
          "paf: maps do not fit the tables");
  const paf::Axis x = searched ? axis(search_x_first, search_x_weights, s.width) : s.x;
  const paf::Axis y = searched ? s.search_y : s.y;
  float* to = out.data();
  for (std::size_t c = 0; c < maps.shape(0); ++c)
    for (std::size_t i = 0; i < ys.shape(0); ++i)
      for (std::size_t j = 0; j < xs.shape(0); ++j) {
        const int px = xs.data()[j], py = ys.data()[i];
        require(px >= 0 && px < x.size && py >= 0 && py < y.size, "paf: pixel outside the decoded map");
        const float* map = maps.data() + c * s.width * s.height;
        *to++ = searched ? paf::sample_in_order(map, s.width, x, y, px, py) : paf::sample(map, s.width, x, y, px, py);
      }
}

paf::Params make_params(int profile, int width, int height, int parts, int limbs, int max_peaks, int max_people,
                        int samples, int min_hits, int window, int min_parts, float min_distance,
                        float peak_threshold, float limb_threshold, float min_score) {
  return {profile,  width,  height,    parts,        limbs,          max_peaks,      max_people, samples,
          min_hits, window, min_parts, min_distance, peak_threshold, limb_threshold, min_score};
}

}  // namespace

void bind_paf(nb::module_& m) {
  nb::class_<paf::Params>(m, "PafParams");
  nb::class_<Tables>(m, "PafTables");
  m.attr("PAF_TILE") = paf::kTile;
  m.def("paf_params", &make_params);
  m.def("paf_tables", &make_tables);
  m.def("paf_sample", &sample);
  m.def("paf", &decode, nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(),
        nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(),
        nb::arg().none());
}

}  // namespace jetpose
