// The three kernels of associative embedding, one after another, against the CPU build: maps and network outputs, one
// or two resolutions, shared tags, more people than fit, broken maps, several block sizes. All results are exact.
#include "harness.cuh"

#include "../../runtime/native/embedding_memory.hpp"  // after the emulation

namespace {

struct Case {
  std::string name;
  int people, width, height;
  int components, max_people;
  bool shared_tags, broken;
};

embedding::Params parameters(int joints, const Case& c, bool detection_val, bool ignore) {
  embedding::Params p{};
  p.joints = joints;
  p.components = c.components;
  for (int i = 0; i < joints; ++i) p.order[i] = (i + 2) % joints;
  p.window = 5;
  p.max_people = c.max_people;
  p.threshold = 0.1;
  p.tag_threshold = 1;
  p.use_detection_val = detection_val;
  p.ignore_too_much = ignore;
  p.adjust = p.refine = true;
  return p;
}

// Memory of one image; Array is harness::Host or harness::Device.
template <template <class> class Array>
struct Memory {
  harness::Pool<Array> pool;
  std::size_t capacity;
  embedding::Work work;
  embedding::People people;
  int* count;

  Memory(const embedding::Params& p, int width, int height, int lanes)
      : capacity(embedding::people_capacity(p)), work(embedding::work_memory(pool, p, width, height, lanes)),
        people{pool.template take<float>(capacity * p.joints * 3),
               pool.template take<float>(capacity * p.joints * p.components), pool.template take<float>(capacity)},
        count(pool.template take<int>(1)) {}
};

template <class Source>
struct Kernels {
  void (*peaks)(Source, embedding::Params, embedding::Work);
  void (*group)(Source, embedding::Params, embedding::Work, embedding::People, int*);
  void (*refine)(Source, embedding::Params, embedding::Work, embedding::People, const int*);
};
const Kernels<embedding::MapSource> map_kernels{jetpose_embedding_peaks_maps, jetpose_embedding_group_maps,
                                                jetpose_embedding_refine_maps};
const Kernels<embedding::OutputSource> output_kernels{jetpose_embedding_peaks_outputs, jetpose_embedding_group_outputs,
                                                      jetpose_embedding_refine_outputs};

template <class Source>
void test(harness::Report& report, const std::string& name, const embedding::Params& p, const Source& on_host,
          const Source& on_device, const Kernels<Source>& kernels) {
  Memory<harness::Host> host(p, on_host.width, on_host.height, 1);
  *host.count = embedding::decode(SerialGroup{}, p, on_host, host.work, host.people);
  for (int threads : harness::block_sizes) {
    Memory<harness::Device> device(p, on_host.width, on_host.height, threads);
    harness::launch("peaks", kernels.peaks, p.joints, threads, on_device, p, device.work);
    harness::launch("group", kernels.group, 1, threads, on_device, p, device.work, device.people, device.count);
    harness::launch("refine", kernels.refine, p.joints, threads, on_device, p, device.work, device.people,
                    (const int*)device.count);
    const std::string where = name + " " + std::to_string(threads);
    const std::size_t joints = p.joints;
    const auto compare = [&](const char* what, const auto* gpu, const auto* cpu, const std::vector<int>& counts,
                             std::size_t capacity, std::size_t width) {
      const std::size_t size = counts.size() * capacity * width;
      report.compare(where + what, harness::valid(device.pool.host(gpu, size), counts, (int)capacity, (int)width),
                     harness::valid(host.pool.host(cpu, size), counts, (int)capacity, (int)width), 0);
    };
    const std::vector<int> found{*host.count}, peaks = host.pool.host(host.work.counts, joints);
    report.compare(where + " count", device.pool.host(device.count, 1), found, 0);
    compare(" peaks", device.work.peaks, host.work.peaks, peaks, p.max_people, 1);
    compare(" keypoints", device.people.keypoints, host.people.keypoints, found, host.capacity, 3 * joints);
    compare(" tags", device.people.tags, host.people.tags, found, host.capacity, joints * p.components);
    compare(" scores", device.people.scores, host.people.scores, found, host.capacity, 1);
  }
}

// Tags (maps, height, width, components): near a person's joint the person's own, else noise.
std::vector<float> tags_of(const harness::Scene& s, int maps, int components, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 1);
  std::vector<float> tags((std::size_t)maps * s.width * s.height * components), own(s.people * components);
  for (auto& v : tags) v = normal(random);
  for (auto& v : own) v = 5 * normal(random);
  for (int i = 0; i < s.people * s.joints; ++i)
    for (int y = (int)s.y[i] - 3; y <= s.y[i] + 3; ++y)
      for (int x = (int)s.x[i] - 3; x <= s.x[i] + 3; ++x)
        if (x >= 0 && x < s.width && y >= 0 && y < s.height)
          for (int t = 0; t < components; ++t) {
            const std::size_t pixel = ((std::size_t)(i % s.joints % maps) * s.height + y) * s.width + x;
            tags[pixel * components + t] = own[i / s.joints * components + t] + 0.1f * normal(random);
          }
  return tags;
}

void test_maps(harness::Report& report, const Case& c, const embedding::Params& p, const std::string& name) {
  const auto scene = harness::random_scene(c.people, p.joints, c.width, c.height, 31 * c.people + c.width);
  auto heat = harness::heatmaps(scene, 5);
  auto tags = tags_of(scene, c.shared_tags ? 1 : p.joints, c.components, 6);
  if (c.broken) {
    harness::spoil(heat);
    harness::spoil(tags);
  }
  const i64 stride = c.shared_tags ? 0 : (i64)c.width * c.height * c.components;
  harness::Device<float> device_heat(heat), device_tags(tags);
  const embedding::MapSource source{heat.data(), tags.data(), c.width, c.height, c.components, stride};
  embedding::MapSource on_device = source;
  on_device.heatmaps = device_heat.get();
  on_device.tags = device_tags.get();
  test(report, "maps " + name, p, source, on_device, map_kernels);
}

// Outputs of a third of the size; with `fine` a second heatmap between them and the result.
void test_outputs(harness::Report& report, const Case& c, const embedding::Params& p, const std::string& name,
                  bool fine) {
  const int low_w = (c.width + 2) / 3, low_h = (c.height + 2) / 3;
  const int middle_w = fine ? (c.width + 1) / 2 : low_w, middle_h = fine ? (c.height + 1) / 2 : low_h;
  auto scene = harness::random_scene(c.people, p.joints, low_w, low_h, 37 * c.people + c.width);
  auto heat = harness::heatmaps(scene, 8, 1.0f);
  auto tags = tags_of(scene, c.shared_tags ? 1 : p.joints, 1, 9);
  for (auto& v : scene.x) v *= (float)middle_w / low_w;
  for (auto& v : scene.y) v *= (float)middle_h / low_h;
  scene.width = middle_w;
  scene.height = middle_h;
  auto second = harness::heatmaps(scene, 10);
  if (c.broken) {
    harness::spoil(heat);
    harness::spoil(tags);
  }
  harness::Device<float> device_heat(heat), device_second(second), device_tags(tags);
  embedding::OutputSource source{};
  source.x1 = embedding::axis(low_w, middle_w);
  source.y1 = embedding::axis(low_h, middle_h);
  source.x2 = embedding::axis(middle_w, c.width);
  source.y2 = embedding::axis(middle_h, c.height);
  source.width = c.width;
  source.height = c.height;
  source.tag_stride = c.shared_tags ? 0 : (i64)low_w * low_h;
  embedding::OutputSource on_device = source;
  source.coarse = heat.data();
  source.tags = tags.data();
  source.fine = fine ? second.data() : nullptr;
  on_device.coarse = device_heat.get();
  on_device.tags = device_tags.get();
  on_device.fine = fine ? device_second.get() : nullptr;
  test(report, std::string(fine ? "two outputs " : "outputs ") + name, p, source, on_device, output_kernels);
}

}  // namespace

int main() {
  harness::require_gpu();
  harness::Report report;
  const Case cases[] = {{"3 people", 3, 70, 51, 1, 30, false, false},
                        {"nobody", 0, 33, 40, 1, 30, false, false},
                        {"two components", 5, 64, 64, 2, 30, false, false},
                        {"one tag map", 4, 61, 47, 1, 8, true, false},
                        {"too many", 9, 96, 64, 1, 3, false, false},
                        {"broken", 5, 80, 48, 1, 30, false, true},
                        {"one pixel", 1, 1, 1, 1, 30, false, false},
                        {"64 of three components", 6, 40, 90, 3, 64, false, false}};
  for (const Case& c : cases)
    for (int options = 0; options < 2; ++options) {
      auto p = parameters(6, c, options == 0, options == 1);
      p.rms = p.refined_one = options == 1;
      const std::string name = c.name + (options ? ", other options" : "");
      test_maps(report, c, p, name);
      p.components = 1;
      Case plain = c;
      plain.components = 1;
      test_outputs(report, plain, p, name, false);
      test_outputs(report, plain, p, name, true);
    }
  return report.exit_code();
}
