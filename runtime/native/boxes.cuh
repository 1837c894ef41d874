// Boxes of people as detectors give them; nms.cuh chooses among them. All boxes are in input pixels.
//
//   yolox          rows (count, 5 + C): centre x, centre y, width, height, objectness, C classes. Raw rows are relative
//                  to cells of 8, 16 and 32 pixels: centre = (v + cell) * stride, size = exp(v) * stride (Ge et al.
//                  2021, arXiv 2107.08430); decoded ones are pixels already. score = objectness * class
//   rtmdet         rows (count, 5): left, top, right, bottom, score; labels (count)
//   torchvision    boxes (count, 4): left, top, right, bottom; scores (count); labels (count)
//   centre_map     map (H, W) of centres, distances (4, H, W) of the sides: left, top, right, bottom, in units of the
//                  stride. Peaks are highest of their 3 x 3 neighbours; of equal ones the first counts
#pragma once
#include "nms.cuh"

namespace jetpose {
namespace boxes {

using nms::Box;

enum Layout { kYolox, kYoloxDecoded, kRtmdet, kTorchvision, kCentreMap };

struct Source {
  const float *first, *second, *third;  // in the order above
  int layout, count;
  int values;         // of a row
  int person;         // the class of people: index (yolox), label
  int width, height;  // of the input (yolox), of the map (centre_map)
  int logits;         // the centre map holds logits
  float scale_x, scale_y, shift_x, shift_y;  // input pixel = scale * map pixel + shift
  float stride_x, stride_y;

  JP_FN int joints() const { return 2; }

  JP_FN float score(int i) const {
    switch (layout) {
      case kYolox:
      case kYoloxDecoded: return yolox_score(first + (i64)i * values);
      case kRtmdet: return second[i] == (float)person ? first[(i64)i * values + 4] : 0.0f;
      case kTorchvision: return third[i] == (float)person ? second[i] : 0.0f;
      default: return is_peak(i) ? probability(first[i]) : 0.0f;
    }
  }

  JP_FN Box box(int i) const {
    switch (layout) {
      case kYolox: return yolox_box(i);
      case kYoloxDecoded: {
        const float* v = first + (i64)i * values;
        return around(v[0], v[1], v[2], v[3]);
      }
      case kRtmdet:
      case kTorchvision: {
        const float* v = first + (i64)i * values;
        return {v[0], v[1], v[2], v[3]};
      }
      default: return map_box(i);
    }
  }

  JP_FN void joint(int i, int k, float score, float* out) const {
    const Box b = box(i);
    out[0] = k == 0 ? b.left : b.right;
    out[1] = k == 0 ? b.top : b.bottom;
    out[2] = score;
  }

 private:
  JP_FN static Box around(float x, float y, float width, float height) {
    const float half_w = 0.5f * width, half_h = 0.5f * height;
    return {x - half_w, y - half_h, x + half_w, y + half_h};
  }

  // An anchor stands for its best class, the first of equal ones, as in the authors' postprocess.
  JP_FN float yolox_score(const float* row) const {
    const float* of_class = row + 5;
    for (int c = 0; c < values - 5; ++c)
      if (c < person ? of_class[c] >= of_class[person] : of_class[c] > of_class[person]) return 0.0f;
    return row[4] * of_class[person];
  }

  JP_FN Box yolox_box(int i) const {
    int stride = 8, cell = i;
    for (; stride < 32; stride *= 2) {
      const int cells = (width / stride) * (height / stride);
      if (cell < cells) break;
      cell -= cells;
    }
    const int columns = width / stride;
    const float s = (float)stride, *v = first + (i64)i * values;
    return around((v[0] + (float)(cell % columns)) * s, (v[1] + (float)(cell / columns)) * s, expf(v[2]) * s,
                  expf(v[3]) * s);
  }

  JP_FN float probability(float v) const { return logits ? 1.0f / (1.0f + expf(-v)) : v; }

  JP_FN bool is_peak(int i) const {
    const float v = first[i];
    const int x = i % width, y = i / width;
    if (!(v == v)) return false;
    for (int dy = -1; dy <= 1; ++dy)
      for (int dx = -1; dx <= 1; ++dx) {
        if (x + dx < 0 || x + dx >= width || y + dy < 0 || y + dy >= height) continue;
        const int j = i + dy * width + dx;
        if (j < i ? first[j] >= v : first[j] > v) return false;
      }
    return true;
  }

  JP_FN Box map_box(int i) const {
    const float x = (float)(i % width) * scale_x + shift_x, y = (float)(i / width) * scale_y + shift_y;
    const float* d = second + i;
    const i64 n = count;
    return {x - d[0] * stride_x, y - d[n] * stride_y, x + d[2 * n] * stride_x, y + d[3 * n] * stride_y};
  }
};

}  // namespace boxes
}  // namespace jetpose
