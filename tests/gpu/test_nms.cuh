// What the tests of kernels that end in non-maximum suppression share.
#pragma once
#include "harness.cuh"

template <template <class> class Array>
nms::Memory nms_memory(harness::Pool<Array>& pool, int count, int max_people) {
  nms::Memory m;
  m.keys = pool.template take<u64>(count);
  m.boxes = pool.template take<nms::Box>(count);
  m.anchors = pool.template take<int>(count);
  m.kept = pool.template take<int>(max_people);
  return m;
}

// `make(pool)` gives the Source with its arrays in the pool's memory.
template <class Make, class Source>
void compare_nms(harness::Report& report, const std::string& name, const nms::Params& p, double allowed,
                 const Make& make, void (*kernel)(Source, nms::Params, nms::Memory, nms::People, int*)) {
  harness::Pool<harness::Host> host;
  const Source source = make(host);
  const int values = 3 * source.joints();
  const auto memory = nms_memory(host, source.count, p.max_people);
  const nms::People people{host.take<float>(p.max_people), host.take<float>(p.max_people * values)};
  const int found = nms::decode(SerialGroup{}, source, p, memory, people);
  for (int threads : harness::block_sizes) {
    harness::Pool<harness::Device> device;
    const auto on_device = nms_memory(device, source.count, p.max_people);
    const nms::People out{device.take<float>(p.max_people), device.take<float>(p.max_people * values)};
    int* count = device.take<int>(1);
    harness::launch(name.c_str(), kernel, 1, threads, make(device), p, on_device, out, count);
    const std::string run = name + " " + std::to_string(threads);
    report.compare(run + " count", device.host(count, 1), {found}, 0);
    report.compare(run + " scores", device.host(out.scores, found), host.host(people.scores, found), allowed);
    report.compare(run + " keypoints", device.host(out.keypoints, found * values),
                   host.host(people.keypoints, found * values), 100 * allowed);
  }
}
