#include "bind_embedding.hpp"
#include "embedding_memory.hpp"

namespace jetpose {

Plan plan_embedding(embedding::Params p, const std::vector<DeviceArray<3>>& heatmaps, DeviceArray<3> tags, int width,
                    int height, int block, std::uintptr_t base) {
  check_block(block);
  require(heatmaps.size() == 1 || heatmaps.size() == 2, "heatmaps: wanted one, or a coarse and a fine output");
  p.components = 1;
  embedding::Maps maps[2] = {};
  for (std::size_t i = 0; i < heatmaps.size(); ++i)
    maps[i] = {data_of(heatmaps[i], "heatmaps: wanted an address and a shape"), heatmaps[i].second};
  const embedding::Maps tag{data_of(tags, "tags: wanted an address and a shape"), tags.second};
  const embedding::OutputSource source = embedding::make_source(p, maps[0], maps[1], tag, width, height);
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

}  // namespace jetpose
