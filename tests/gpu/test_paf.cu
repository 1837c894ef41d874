// The three kernels of part-affinity-field decoding, one after another, against the CPU build: all four profiles, more
// peaks and people than fit, nobody, broken maps, odd sizes, several block sizes. All results are exact.
#include <array>

#include "harness.cuh"

#include "../../runtime/native/paf_memory.hpp"  // after the emulation

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

// Inputs and results in one kind of memory, with memory for as many parts and limbs at a time as are asked for.
template <template <class> class Array>
struct Memory {
  harness::Pool<Array> pool;
  paf::Params p;
  paf::Sampling s;
  const float *heat, *fields;
  const paf::Limb* limbs;
  paf::Peaks peaks;
  paf::Connections connections;
  paf::People people;
  paf::Work work;

  Memory(const paf::Params& params, const Tables& t, const std::vector<float>& heat_, const std::vector<float>& fields_,
         const std::vector<int>& limbs_, bool one_by_one)
      : p(params), s(sampling(t)), heat(pool.with(heat_)), fields(pool.with(fields_)),
        limbs((const paf::Limb*)pool.with(limbs_)), peaks(paf::peaks_memory(pool, p)),
        connections(paf::connections_memory(pool, p)), people(paf::people_memory(pool, p)),
        work(paf::work_memory(pool, p, s, one_by_one ? 1 : p.parts, one_by_one ? 1 : p.limbs)) {
    people.keypoints = pool.template take<float>((std::size_t)p.max_people * p.parts * 3);
    people.scores = pool.template take<float>(p.max_people);
    people.total = pool.template take<int>(1);
  }

  paf::Axis axis(const Table& t) {
    return {pool.with(t.first), pool.with(t.weights), t.taps, (int)t.first.size()};
  }
  paf::Sampling sampling(const Tables& t) {
    paf::Sampling made{};
    made.width = t.width;
    made.height = t.height;
    made.x = axis(t.x);
    made.y = axis(t.y);
    made.search_y = axis(t.search_y);
    made.search_x = {pool.with(t.blocks.first), pool.with(t.blocks.weights), t.blocks.span, t.blocks.count};
    made.rise = made.fall = 3;  // more than any sum of these weights
    return made;
  }
};

void decode(Memory<harness::Host>& h) {
  const SerialGroup g;
  const std::size_t area = (std::size_t)h.s.width * h.s.height;
  for (int i = 0; i < h.p.parts; ++i)
    paf::find_peaks(g, h.p, h.s, h.heat + i * area, i, h.work.peaks, h.peaks);
  const paf::LimbMemory memory = paf::memory_of_limb(h.work.limbs, h.p.max_peaks, 0);
  for (int i = 0; i < h.p.limbs; ++i)
    paf::connect(g, h.p, h.s, h.fields, h.limbs[i], i, h.peaks, memory, h.connections);
  paf::assemble(g, h.p, h.limbs, h.peaks, h.connections, h.work.people, h.people);
}

void decode(Memory<harness::Device>& d, int threads) {
  const paf::LimbArrays& of_limbs = d.work.limbs;
  harness::launch("paf_peaks", jetpose_paf_peaks, d.p.parts, threads, d.heat, d.p, d.s, d.work.peaks.tile,
                  d.work.peaks.keys, d.work.peaks.spare, d.peaks);
  harness::launch("paf_limbs", jetpose_paf_limbs, d.p.limbs, threads, d.fields, d.p, d.s, d.limbs, d.peaks,
                  of_limbs.keys, of_limbs.spare, of_limbs.floats, of_limbs.ints, of_limbs.marks, d.connections);
  harness::launch("paf_people", jetpose_paf_people, 1, threads, d.p, d.limbs, d.peaks, d.connections, d.work.people,
                  d.people);
}

void compare(harness::Report& report, const std::string& name, Memory<harness::Host>& h, Memory<harness::Device>& d) {
  const auto peaks = h.pool.host(h.peaks.counts, h.p.parts), limbs = h.pool.host(h.connections.counts, h.p.limbs);
  const auto people = h.pool.host(h.people.total, 1);
  const int m = h.p.max_peaks, n = h.p.max_people, k = h.p.parts;
  const auto check = [&](const char* what, const auto* gpu, const auto* cpu, const std::vector<int>& counts,
                         int capacity, int width) {
    const std::size_t size = counts.size() * capacity * width;
    report.compare(name + " " + what, harness::valid(d.pool.host(gpu, size), counts, capacity, width),
                   harness::valid(h.pool.host(cpu, size), counts, capacity, width), 0);
  };
  report.compare(name + " peak counts", d.pool.host(d.peaks.counts, k), peaks, 0);
  check("peaks", d.peaks.points, h.peaks.points, peaks, m, 3);
  check("cells", d.peaks.cells, h.peaks.cells, peaks, m, 2);
  check("searched", d.peaks.searched, h.peaks.searched, peaks, m, 1);
  report.compare(name + " limb counts", d.pool.host(d.connections.counts, h.p.limbs), limbs, 0);
  check("pairs", d.connections.pairs, h.connections.pairs, limbs, m, 2);
  check("limb scores", d.connections.scores, h.connections.scores, limbs, m, 1);
  report.compare(name + " total", d.pool.host(d.people.total, 1), people, 0);
  check("ids", d.people.ids, h.people.ids, people, n, k);
  check("sums", d.people.sums, h.people.sums, people, n, 1);
  check("parts", d.people.parts, h.people.parts, people, n, 1);
  check("keypoints", d.people.keypoints, h.people.keypoints, people, n, 3 * k);
  check("scores", d.people.scores, h.people.scores, people, n, 1);
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
  Memory<harness::Host> host(p, tables, heat, fields, limbs, true);
  decode(host);
  for (int threads : harness::block_sizes) {
    Memory<harness::Device> device(p, tables, heat, fields, limbs, false);
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
