// The three kernels of part-affinity-field decoding, one after another, against the CPU build: all four profiles, more
// peaks and people than fit, nobody, broken maps, odd sizes, several block sizes. All results are exact.
#include <array>

#include "harness.cuh"

namespace {

using Rows = std::vector<std::vector<double>>;  // one axis: decoded pixel -> weight of each cell

Rows enlarged(int cells, int ratio) {  // cubic, as decode/_paf_tables.py makes it
  Rows rows(cells * ratio, std::vector<double>(cells));
  for (int i = 0; i < cells * ratio && ratio > 0; ++i) {
    const double at = (i + 0.5) / ratio - 0.5, whole = std::floor(at);
    float weights[4];
    preprocess::cubic_weights((float)(at - whole), weights);
    if (ratio == 1) weights[0] = weights[2] = weights[3] = 0, weights[1] = 1;
    for (int t = 0; t < 4; ++t) rows[i][clampi((int)whole - 1 + t, 0, cells - 1)] += weights[t];
  }
  return rows;
}

Rows smoothed(const Rows& rows) {
  Rows out(rows.size(), std::vector<double>(rows[0].size()));
  const int n = (int)rows.size();
  for (int i = 0; i < n; ++i)
    for (int t = -4; t <= 4; ++t)
      for (std::size_t c = 0; c < rows[0].size(); ++c)
        out[i][c] += std::exp(-t * t / 8.0) / 4.9 * rows[clampi(i + t, 0, n - 1)][c];
  return out;
}

// Rows without their zeros, all equally wide: paf::Axis.
struct Table {
  std::vector<int> first;
  std::vector<float> weights;
  int taps = 1;

  explicit Table(const Rows& rows) {
    const int cells = (int)rows[0].size(), n = (int)rows.size();
    std::vector<int> last(n);
    first.resize(n);
    for (int i = 0; i < n; ++i) {
      int a = 0, b = cells - 1;
      while (a < cells - 1 && rows[i][a] == 0) ++a;
      while (b > 0 && rows[i][b] == 0) --b;
      first[i] = a;
      last[i] = b;
    }
    for (int i = n - 2; i >= 0; --i) first[i] = first[i] < first[i + 1] ? first[i] : first[i + 1];
    for (int i = 0; i < n; ++i) taps = last[i] - first[i] + 1 > taps ? last[i] - first[i] + 1 : taps;
    for (int i = 0; i < n; ++i) {
      first[i] = clampi(first[i], 0, cells - taps);
      for (int t = 0; t < taps; ++t) weights.push_back((float)rows[i][first[i] + t]);
    }
  }
};

// The weights of whole tiles: paf::Blocks.
struct BlockTable {
  std::vector<int> first;
  std::vector<float> weights;
  int span = 1, count;

  BlockTable(const Table& t, int cells) {
    const int size = (int)t.first.size();
    count = (size + paf::kCore - 1) / paf::kCore;
    const auto pixel = [&](int b, int i) { return b * paf::kCore - 1 + i; };
    for (int b = 0; b < count; ++b) {
      first.push_back(t.first[clampi(pixel(b, 0), 0, size - 1)]);
      const int end = t.first[clampi(pixel(b, paf::kTile - 1), 0, size - 1)] + t.taps;
      span = end - first[b] > span ? end - first[b] : span;
    }
    weights.resize((std::size_t)count * span * paf::kTile);
    for (int b = 0; b < count; ++b) {
      first[b] = clampi(first[b], 0, cells - span);
      for (int i = 0; i < paf::kTile; ++i) {
        const int at = pixel(b, i);
        for (int c = 0; at >= 0 && at < size && c < t.taps; ++c)
          weights[((std::size_t)b * span + t.first[at] + c - first[b]) * paf::kTile + i] = t.weights[at * t.taps + c];
      }
    }
  }
};

struct Tables {
  Table x, y, search_x, search_y;
  BlockTable blocks;
  int width, height;

  Tables(int w, int h, int ratio, bool smooth)
      : x(enlarged(w, ratio)), y(enlarged(h, ratio)),
        search_x(smooth ? smoothed(enlarged(w, ratio)) : enlarged(w, ratio)),
        search_y(smooth ? smoothed(enlarged(h, ratio)) : enlarged(h, ratio)), blocks(search_x, w), width(w),
        height(h) {}
};

// Inputs and results in one kind of memory, as bind_paf.cpp lays them out, with memory for each block.
template <template <class> class Array>
struct Memory {
  Array<float> heat, fields;
  Array<int> x_first, y_first, search_y_first, blocks_first, limb_table;
  Array<float> x_weights, y_weights, search_y_weights, blocks_weights;
  paf::Params p;
  paf::Sampling s;
  std::size_t m, k, l, n, persons, key_memory;
  Array<float> points, searched, limb_scores, keypoints, scores, tiles, floats;
  Array<int> cells, peak_counts, pairs, limb_counts, ids, parts, total, ints, crowd_ids, crowd_parts, offsets, partner,
      queue;
  Array<u64> peak_keys, peak_spare, limb_keys, limb_spare, people_keys, people_spare;
  Array<double> sums, crowd_sums;
  Array<u8> marks, seen;

  Memory(const paf::Params& params, const Tables& t, const std::vector<float>& heat_, const std::vector<float>& fields_,
         const std::vector<int>& limbs)
      : heat(heat_), fields(fields_), x_first(t.x.first), y_first(t.y.first), search_y_first(t.search_y.first),
        blocks_first(t.blocks.first), limb_table(limbs), x_weights(t.x.weights), y_weights(t.y.weights),
        search_y_weights(t.search_y.weights), blocks_weights(t.blocks.weights), p(params), s(sampling(t)),
        m(p.max_peaks), k(p.parts), l(p.limbs), n(p.max_people), persons(l * m), key_memory(paf::key_memory(p)),
        points(k * m * 3), searched(k * m), limb_scores(l * m), keypoints(n * k * 3), scores(n),
        tiles(k * paf::tile_memory(s)), floats(l * (m * m + 3 * m)), cells(k * m * 2), peak_counts(k), pairs(l * m * 2),
        limb_counts(l), ids(n * k), parts(n), total(1), ints(l * 3 * m), crowd_ids(persons * k), crowd_parts(persons),
        offsets(k + 1), partner(l * 2 * m), queue(k * m), peak_keys(k * key_memory), peak_spare(k * key_memory),
        limb_keys(l * m * m), limb_spare(l * m * m), people_keys(persons), people_spare(persons), sums(n),
        crowd_sums(persons), marks(l * 3 * m), seen(k * m) {}

  paf::Sampling sampling(const Tables& t) {
    paf::Sampling made{};
    made.width = t.width;
    made.height = t.height;
    made.x = {x_first.get(), x_weights.get(), t.x.taps, (int)t.x.first.size()};
    made.y = {y_first.get(), y_weights.get(), t.y.taps, (int)t.y.first.size()};
    made.search_y = {search_y_first.get(), search_y_weights.get(), t.search_y.taps, (int)t.search_y.first.size()};
    made.search_x = {blocks_first.get(), blocks_weights.get(), t.blocks.span, t.blocks.count};
    made.rise = made.fall = 3;  // more than any sum of these weights
    return made;
  }
  const paf::Limb* limbs() { return (const paf::Limb*)limb_table.get(); }
  paf::Peaks peaks() { return {points.get(), cells.get(), searched.get(), peak_counts.get()}; }
  paf::Connections connections() { return {pairs.get(), limb_scores.get(), limb_counts.get()}; }
  paf::People people() {
    return {ids.get(), sums.get(), parts.get(), keypoints.get(), scores.get(), total.get()};
  }
  paf::PeopleMemory people_memory() {
    return {{crowd_ids.get(), crowd_sums.get(), crowd_parts.get(), people_keys.get(), people_spare.get(), offsets.get(),
             0},
            {partner.get(), queue.get(), seen.get()}};
  }
};

void decode(Memory<harness::Host>& h) {
  const SerialGroup g;
  const std::size_t area = (std::size_t)h.s.width * h.s.height;
  for (int i = 0; i < h.p.parts; ++i)
    paf::find_peaks(g, h.p, h.s, h.heat.get() + i * area, i,
                    paf::PeakMemory{h.tiles.get(), h.peak_keys.get(), h.peak_spare.get()}, h.peaks());
  float* prices = h.floats.get() + h.m * h.m;
  int* columns = h.ints.get();
  u8* marks = h.marks.get();
  const paf::LimbMemory memory{h.limb_keys.get(), h.limb_spare.get(), marks, h.floats.get(),
                               {prices, prices + h.m, prices + 2 * h.m, columns, columns + h.m, columns + 2 * h.m,
                                marks + 2 * h.m}};
  for (int i = 0; i < h.p.limbs; ++i)
    paf::connect(g, h.p, h.s, h.fields.get(), h.limbs()[i], i, h.peaks(), memory, h.connections());
  paf::assemble(g, h.p, h.limbs(), h.peaks(), h.connections(), h.people_memory(), h.people());
}

void decode(Memory<harness::Device>& d, int threads) {
  harness::launch("paf_peaks", jetpose_paf_peaks, d.p.parts, threads, d.heat.get(), d.p, d.s, d.tiles.get(),
                  d.peak_keys.get(), d.peak_spare.get(), d.peaks());
  harness::launch("paf_limbs", jetpose_paf_limbs, d.p.limbs, threads, d.fields.get(), d.p, d.s, d.limbs(), d.peaks(),
                  d.limb_keys.get(), d.limb_spare.get(), d.floats.get(), d.ints.get(), d.marks.get(), d.connections());
  harness::launch("paf_people", jetpose_paf_people, 1, threads, d.p, d.limbs(), d.peaks(), d.connections(),
                  d.people_memory(), d.people());
}

void compare(harness::Report& report, const std::string& name, Memory<harness::Host>& h, Memory<harness::Device>& d) {
  const auto peaks = h.peak_counts.host(), limbs = h.limb_counts.host(), people = h.total.host();
  const int m = h.p.max_peaks, n = h.p.max_people, k = h.p.parts;
  const auto check = [&](const char* what, const auto& gpu, const auto& cpu, const std::vector<int>& counts,
                         int capacity, int width) {
    report.compare(name + " " + what, harness::valid(gpu.host(), counts, capacity, width),
                   harness::valid(cpu.host(), counts, capacity, width), 0);
  };
  report.compare(name + " peak counts", d.peak_counts.host(), peaks, 0);
  check("peaks", d.points, h.points, peaks, m, 3);
  check("cells", d.cells, h.cells, peaks, m, 2);
  check("searched", d.searched, h.searched, peaks, m, 1);
  report.compare(name + " limb counts", d.limb_counts.host(), limbs, 0);
  check("pairs", d.pairs, h.pairs, limbs, m, 2);
  check("limb scores", d.limb_scores, h.limb_scores, limbs, m, 1);
  report.compare(name + " total", d.total.host(), people, 0);
  check("ids", d.ids, h.ids, people, n, k);
  check("sums", d.sums, h.sums, people, n, 1);
  check("parts", d.parts, h.parts, people, n, 1);
  check("keypoints", d.keypoints, h.keypoints, people, n, 3 * k);
  check("scores", d.scores, h.scores, people, n, 1);
}

// Fields (2 limbs, height, width): unit vectors along each person's limbs, and noise.
std::vector<float> fields_of(const harness::Scene& s, const std::vector<int>& limbs, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 0.02f);
  const std::size_t area = (std::size_t)s.width * s.height;
  std::vector<float> fields(limbs.size() / 5 * 2 * area);
  for (auto& v : fields) v = normal(random);
  for (int person = 0; person < s.people; ++person)
    for (std::size_t l = 0; l < limbs.size() / 5; ++l) {
      const int a = person * s.joints + limbs[5 * l], b = person * s.joints + limbs[5 * l + 1];
      const float dx = s.x[b] - s.x[a], dy = s.y[b] - s.y[a], length = std::sqrt(dx * dx + dy * dy) + 1e-6f;
      for (int y = 0; y < s.height; ++y)
        for (int x = 0; x < s.width; ++x) {
          const float along = ((x - s.x[a]) * dx + (y - s.y[a]) * dy) / length;
          const float across = ((x - s.x[a]) * dy - (y - s.y[a]) * dx) / length;
          if (along < -1 || along > length + 1 || std::fabs(across) > 1.5f) continue;
          fields[2 * l * area + y * s.width + x] += 0.9f * dx / length;
          fields[(2 * l + 1) * area + y * s.width + x] += 0.9f * dy / length;
        }
    }
  return fields;
}

struct Case {
  const char* name;
  int people, width, height, max_peaks, max_people;
  bool broken, lacking;  // lacking: nobody shows part 1
};

void test(harness::Report& report, int profile, const Case& c) {
  const char* names[] = {"openpose", "lightweight", "trt_pose", "tf_pose"};
  const int parts = 6, ratio = profile == paf::kTrtPose ? 1 : profile == paf::kTfPose ? 2 : 4;
  std::vector<int> limbs;  // a chain, and one limb that closes it and only matches
  for (int i = 0; i < parts; ++i)
    for (int value : {i, (i + 1) % parts, 2 * i, 2 * i + 1, (int)(i == parts - 1)}) limbs.push_back(value);
  const auto scene = harness::random_scene(c.people, parts, c.width, c.height, 17 * c.people + c.width);
  auto heat = harness::heatmaps(scene, 3), fields = fields_of(scene, limbs, 4);
  for (int i = 0; i < c.width * c.height && c.lacking; ++i) heat[c.width * c.height + i] = 0;
  if (c.broken) {
    harness::spoil(heat);
    harness::spoil(fields);
  }
  const paf::Params p{profile, c.width * ratio, c.height * ratio, parts, parts, c.max_peaks, c.max_people,
                      profile == paf::kLightweight ? 12 : 10, 6, 5, 2, 6.0f, 0.1f, 0.05f, 0.2f};
  const Tables tables(c.width, c.height, ratio, profile == paf::kOpenPose || profile == paf::kTfPose);
  Memory<harness::Host> host(p, tables, heat, fields, limbs);
  decode(host);
  for (int threads : harness::block_sizes) {
    Memory<harness::Device> device(p, tables, heat, fields, limbs);
    decode(device, threads);
    compare(report, std::string(names[profile]) + ", " + c.name + ", " + std::to_string(threads), host, device);
  }
}

}  // namespace

int main() {
  harness::require_gpu();
  harness::Report report;
  const Case cases[] = {{"3 people", 3, 31, 26, 16, 10, false, false},
                        {"nobody", 0, 20, 17, 8, 4, false, false},
                        {"too many peaks", 8, 40, 31, 4, 10, false, false},
                        {"too many people", 8, 40, 31, 16, 2, false, false},
                        {"a part lacks", 5, 36, 29, 16, 10, false, true},
                        {"broken", 4, 33, 24, 40, 20, true, false},
                        {"one cell", 1, 1, 1, 4, 4, false, false}};
  for (int profile = paf::kOpenPose; profile <= paf::kTfPose; ++profile)
    for (const Case& c : cases) test(report, profile, c);
  return report.exit_code();
}
