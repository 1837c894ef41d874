#include "bind_launch.hpp"
#include "paf_memory.hpp"

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

// heat (C, h, w), fields (C2, h, w)
void check(const paf::Params& p, const Tables& t, const std::array<std::size_t, 3>& heat,
           const std::array<std::size_t, 3>& fields, const Array<const int, 2>& limbs) {
  const paf::Sampling& s = t.sampling;
  require((int)heat[1] == s.height && (int)heat[2] == s.width && (int)fields[1] == s.height &&
              (int)fields[2] == s.width && p.width == s.x.size && p.height == s.y.size,
          "paf: maps do not fit the tables");
  require(p.parts > 0 && p.parts <= (int)heat[0] && p.limbs == (int)limbs.shape(0) && limbs.shape(1) == 5 &&
              p.max_peaks > 0 && p.max_people > 0 && p.samples > 1 && p.samples <= paf::kMaxSamples,
          "paf: parameters out of range");
  require(p.profile != paf::kTrtPose || (s.width == p.width && s.height == p.height), "paf: trt_pose enlarges nothing");
  for (int i = 0; i < p.limbs; ++i) {
    const int* limb = limbs.data() + 5 * i;
    require(limb[0] >= 0 && limb[0] < p.parts && limb[1] >= 0 && limb[1] < p.parts && limb[0] != limb[1] &&
                limb[2] >= 0 && limb[2] < (int)fields[0] && limb[3] >= 0 && limb[3] < (int)fields[0],
            "paf: limb out of range");
  }
}

void decode(const paf::Params& p, const Tables& t, Array<const float, 3> heat, Array<const float, 3> fields,
            Array<const int, 2> limbs, Array<float, 3> points, Array<int, 3> cells, Array<float, 2> searched,
            Array<int, 1> peak_counts, Array<int, 3> pairs, Array<float, 2> limb_scores, Array<int, 1> limb_counts,
            Array<int, 2> ids, Array<double, 1> sums, Array<int, 1> parts, Array<float, 3> keypoints,
            Array<float, 1> scores, Array<int, 1> total, nb::object graph) {
  check(p, t, {heat.shape(0), heat.shape(1), heat.shape(2)}, {fields.shape(0), fields.shape(1), fields.shape(2)},
        limbs);
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
  Scratch scratch;
  const paf::Work work = paf::work_memory(scratch, p, s, 1, 1);
  run([&](const auto& g) {
    for (int i = 0; i < p.parts; ++i)
      paf::find_peaks(g, p, s, maps + (std::size_t)i * s.width * s.height, i, work.peaks, peaks);
    paf::LimbMemory memory = paf::memory_of_limb(work.limbs, p.max_peaks, 0);
    for (int i = 0; i < p.limbs; ++i) {
      if (kept_graph) memory.graph = kept_graph + i * m * m;
      paf::connect(g, p, s, pafs, limb[i], i, peaks, memory, connections);
    }
    paf::assemble(g, p, limb, peaks, connections, work.people, people);
  });
}

paf::Axis keep(Arena& arena, const paf::Axis& a) {
  return {arena.keep(a.first, a.size), arena.keep(a.weights, (std::size_t)a.size * a.taps), a.taps, a.size};
}

// The tables in device memory.
paf::Sampling keep(Arena& arena, const paf::Sampling& host) {
  paf::Sampling s = host;
  s.x = keep(arena, host.x);
  s.y = keep(arena, host.y);
  s.search_y = keep(arena, host.search_y);
  const paf::Blocks& blocks = host.search_x;
  s.search_x.first = arena.keep(blocks.first, blocks.count);
  s.search_x.weights = arena.keep(blocks.weights, (std::size_t)blocks.count * blocks.span * paf::kTile);
  return s;
}

// heat (>= K, h, w), fields (C, h, w), limbs (L, 5)
Plan plan(const paf::Params& p, const Tables& t, DeviceArray<3> heat, DeviceArray<3> fields, Array<const int, 2> limbs,
          int block, std::uintptr_t base) {
  check_block(block);
  const float* maps = data_of(heat, "heatmaps: wanted an address and a shape");
  const float* pafs = data_of(fields, "pafs: wanted an address and a shape");
  const auto size = [](const DeviceArray<3>& a) {
    return std::array<std::size_t, 3>{(std::size_t)a.second[0], (std::size_t)a.second[1], (std::size_t)a.second[2]};
  };
  check(p, t, size(heat), size(fields), limbs);
  Arena arena(base);
  const paf::Limb* limb = arena.keep(reinterpret_cast<const paf::Limb*>(limbs.data()), p.limbs);
  const paf::Sampling s = keep(arena, t.sampling);
  const paf::Peaks peaks = paf::peaks_memory(arena, p);
  const paf::Connections connections = paf::connections_memory(arena, p);
  const paf::Work work = paf::work_memory(arena, p, s, p.parts, p.limbs);
  paf::People people = paf::people_memory(arena, p);
  const PeopleResult result(arena, p.max_people, p.parts);
  people.total = result.count;
  people.scores = result.scores;
  people.keypoints = result.keypoints;
  const Size3 threads = along_x(block);
  const paf::LimbArrays& of_limbs = work.limbs;
  return finish_people(
      arena, result,
      {JP_LAUNCH(jetpose_paf_peaks, along_x(p.parts), threads, maps, p, s, work.peaks.tile, work.peaks.keys,
                 work.peaks.spare, peaks),
       JP_LAUNCH(jetpose_paf_limbs, along_x(p.limbs), threads, pafs, p, s, limb, peaks, of_limbs.keys, of_limbs.spare,
                 of_limbs.floats, of_limbs.ints, of_limbs.marks, connections),
       JP_LAUNCH(jetpose_paf_people, along_x(1), threads, p, limb, peaks, connections, work.people, people)});
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
  m.def("plan_paf", &plan);
  m.def("paf", &decode, nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(),
        nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(),
        nb::arg().none());
}

}  // namespace jetpose
