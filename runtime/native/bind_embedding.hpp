// What the CPU binding of associative embedding and its launch plan share. They are two files: in one, the compiler
// inlines less of the decoder, which costs a tenth of its speed.
#pragma once
#include <nanobind/stl/array.h>

#include <array>
#include <vector>

#include "bind_launch.hpp"
#include "embedding.cuh"

namespace jetpose {
namespace embedding {

// One output of the network, on the host or on the device.
struct Maps {
  const float* data;
  std::array<int, 3> shape;  // channels, height, width
};
// coarse (K, h, w), fine (K, h2, w2) or without data, tags (K or 1, h, w); decoded at width x height.
inline OutputSource make_source(const Params& p, const Maps& coarse, const Maps& fine, const Maps& tags, int width,
                                int height) {
  require(coarse.shape[0] == p.joints && coarse.shape[1] > 0 && coarse.shape[2] > 0, "embedding: coarse heatmaps");
  require((tags.shape[0] == p.joints || tags.shape[0] == 1) && tags.shape[1] == coarse.shape[1] &&
              tags.shape[2] == coarse.shape[2],
          "embedding: tags");
  const bool two = fine.data != nullptr;
  require(!two || fine.shape[0] == p.joints, "embedding: fine heatmaps");
  OutputSource source{};
  source.coarse = coarse.data;
  source.fine = fine.data;
  source.tags = tags.data;
  const int coarse_height = coarse.shape[1], coarse_width = coarse.shape[2];
  const int middle_height = two ? fine.shape[1] : coarse_height, middle_width = two ? fine.shape[2] : coarse_width;
  require(coarse_width <= middle_width && middle_width <= width && coarse_height <= middle_height &&
              middle_height <= height,
          "embedding: sizes must grow from output to output");
  require((i64)width * height < 1ll << 31, "embedding: maps too large");
  source.x1 = axis(coarse_width, middle_width);
  source.y1 = axis(coarse_height, middle_height);
  source.x2 = axis(middle_width, width);
  source.y2 = axis(middle_height, height);
  source.width = width;
  source.height = height;
  source.tag_stride = tags.shape[0] > 1 ? (i64)coarse_width * coarse_height : 0;
  return source;
}

}  // namespace embedding

// heatmaps: one, or a coarse and a fine output; tags (K or 1, h, w); decoded at width x height.
Plan plan_embedding(embedding::Params p, const std::vector<DeviceArray<3>>& heatmaps, DeviceArray<3> tags, int width,
                    int height, int block, std::uintptr_t base);

}  // namespace jetpose
