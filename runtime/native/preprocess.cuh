// From a camera frame to a network input, in one pass over the output: sample the frame along an affine map, convert
// the colours of every tap as OpenCV's cvtColor does, normalise, write NCHW.
//
// Value of output pixel (x, y), stored channel c:
//   (sx, sy) = inverse * (x, y, 1)                                   double
//   column i = sum over j of wy[j] * tap(first_y + j, first_x + i)   float, j ascending
//   v        = sum over i of wx[i] * column i                        float, i ascending
//   v        = round half to even, clamped to 0..255                 where the geometry says so
//   out      = (v - mean[c]) / std[c]
// Columns are blended before rows so that a CPU can blend whole rows of bytes with vector instructions; the path for
// one pixel does the same sums in the same order, and both give the same bits (where nothing is contracted to FMA).
#pragma once
#include "group.cuh"

namespace jetpose {
namespace preprocess {

enum Format { kBgr8, kRgb8, kGray8, kNv12, kYuyv };
enum Colour { kRgb, kBgr, kGray };

struct Image {
  const u8* planes[2];  // the second for nv12 only
  i64 strides[2];       // bytes
  int format;
  int width, height;
};

struct Params {
  double inverse[6];  // row-major 2 x 3
  int width, height;  // of the output
  int left, top, right, bottom;  // output pixels that show the frame, [left, right) x [top, bottom); the rest is pad
  int cubic;          // bicubic (a = -0.75), else bilinear
  int round_pixels;
  int replicate;      // taps outside the frame repeat its edge; otherwise they are pad
  int colour;
  float pad;
  float mean[3], std[3];  // per output channel
};

constexpr int kMaxTaps = 4;

// ---- colours ------------------------------------------------------------------------------------------------

JP_FN u8 clamp_byte(int v) { return (u8)clampi(v, 0, 255); }

// BT.601 in video range: the coefficients 255/219 and 255/224 * {1.402, ...} times 2^20, as OpenCV rounds them.
struct Chroma {
  int r, g, b;  // what u and v add, with the half that rounds
};
JP_FN Chroma chroma(int u, int v) {  // u, v less 128
  const int half = 1 << 19;
  return {1673527 * v + half, half - 852492 * v - 409993 * u, 2116026 * u + half};
}
JP_FN int luminance(int y) { return (y > 16 ? y - 16 : 0) * 1220542; }

JP_FN void yuv_to_rgb(int y, int u, int v, u8* rgb) {
  const Chroma c = chroma(u - 128, v - 128);
  const int l = luminance(y);
  rgb[0] = clamp_byte((l + c.r) >> 20);
  rgb[1] = clamp_byte((l + c.g) >> 20);
  rgb[2] = clamp_byte((l + c.b) >> 20);
}

// OpenCV's grey: 0.299, 0.587, 0.114 times 2^15.
JP_FN u8 luma(int r, int g, int b) { return (u8)((9798 * r + 19235 * g + 3735 * b + (1 << 14)) >> 15); }

// Stored channels of a tap: 1 where the frame or the network is grey, else 3.
JP_FN int stored_channels(const Image& image, int colour) {
  return image.format == kGray8 || colour == kGray ? 1 : 3;
}

// Which stored channel output channel c shows. Bytes stay in the order of the frame; YUV becomes r, g, b.
JP_FN int stored_channel(const Image& image, int colour, int c) {
  if (stored_channels(image, colour) == 1) return 0;
  return (image.format == kBgr8) == (colour == kBgr) ? c : 2 - c;
}

// The stored channels of frame pixels [x0, x1) of row y.
template <int format>
JP_FN void read_as(const Image& image, int colour, int y, int x0, int x1, u8* to) {
  const u8* row = image.planes[0] + y * image.strides[0];
  for (int x = x0; x < x1; ++x) {
    u8 v[3];
    if (format == kGray8) {
      *to++ = row[x];
      continue;
    }
    if (format == kNv12) {
      const u8* uv = image.planes[1] + (y >> 1) * image.strides[1] + (x & ~1);
      yuv_to_rgb(row[x], uv[0], uv[1], v);
    } else if (format == kYuyv) {
      const u8* pair = row + 2 * (i64)(x & ~1);
      yuv_to_rgb(row[2 * (i64)x], pair[1], pair[3], v);
    } else {
      for (int c = 0; c < 3; ++c) v[c] = row[3 * (i64)x + c];
    }
    if (colour == kGray) {
      *to++ = format == kBgr8 ? luma(v[2], v[1], v[0]) : luma(v[0], v[1], v[2]);
    } else {
      for (int c = 0; c < 3; ++c) *to++ = v[c];
    }
  }
}

JP_FN void read(const Image& image, int colour, int y, int x0, int x1, u8* to) {
  switch (image.format) {
    case kBgr8: return read_as<kBgr8>(image, colour, y, x0, x1, to);
    case kRgb8: return read_as<kRgb8>(image, colour, y, x0, x1, to);
    case kGray8: return read_as<kGray8>(image, colour, y, x0, x1, to);
    case kNv12: return read_as<kNv12>(image, colour, y, x0, x1, to);
    default: return read_as<kYuyv>(image, colour, y, x0, x1, to);
  }
}

// ---- taps along one axis ------------------------------------------------------------------------------------

struct Taps {
  int index[kMaxTaps];  // of the frame's pixels; -1 or n: outside
  float weight[kMaxTaps];
};

// Keys' cubic with a = -0.75, at distance f from the second tap.
JP_FN void cubic_weights(float f, float* w) {
  const float a = -0.75f, g = 1.0f - f, far = f + 1.0f;
  w[0] = ((a * far - 5.0f * a) * far + 8.0f * a) * far - 4.0f * a;
  w[1] = ((a + 2.0f) * f - (a + 3.0f)) * f * f + 1.0f;
  w[2] = ((a + 2.0f) * g - (a + 3.0f)) * g * g + 1.0f;
  w[3] = 1.0f - w[0] - w[1] - w[2];
}

template <int taps>
JP_FN Taps taps_at(double position, int n, int replicate) {
  const double low = -8.0, high = n + 8.0;  // far outside is as good as just outside, and fits an int
  const double s = position > low ? (position < high ? position : high) : low;
  const int whole = (int)floor(s);
  const float f = (float)(s - whole);
  Taps t;
  if (taps == 4) {
    cubic_weights(f, t.weight);
  } else {
    t.weight[0] = 1.0f - f;
    t.weight[1] = f;
  }
  const int first = replicate ? 0 : -1, last = replicate ? n - 1 : n;
  for (int i = 0; i < taps; ++i) t.index[i] = clampi(whole + i - (taps / 2 - 1), first, last);
  return t;
}

// ---- values -------------------------------------------------------------------------------------------------

// IEEE half of a float, round to nearest even; overflow gives infinity.
JP_FN unsigned short half_bits(float value) {
  u32 bits;
  memcpy(&bits, &value, sizeof bits);
  const u32 sign = bits & 0x80000000u;
  bits ^= sign;
  u32 half;
  if (bits >= 0x47800000u) {  // too large, infinite or NaN
    half = bits > 0x7f800000u ? 0x7e00u : 0x7c00u;
  } else if (bits < 0x38800000u) {  // subnormal or zero: the adder shifts and rounds
    float tiny;
    memcpy(&tiny, &bits, sizeof tiny);
    tiny += 0.5f;
    memcpy(&half, &tiny, sizeof half);
    half -= 0x3f000000u;
  } else {
    half = (bits - 0x38000000u + 0xfffu + ((bits >> 13) & 1u)) >> 13;
  }
  return (unsigned short)(half | sign >> 16);
}

JP_FN void store(float value, float* to) { *to = value; }
JP_FN void store(float value, unsigned short* to) { *to = half_bits(value); }

// Clamped to 0..255 first, so that adding and taking away 1.5 * 2^23 rounds half to even.
JP_FN float round_pixel(float v) {
  v = v < 0.0f ? 0.0f : v > 255.0f ? 255.0f : v;
  return (v + 12582912.0f) - 12582912.0f;
}

JP_FN float normalise(const Params& p, float v, int c) {
  return ((p.round_pixels ? round_pixel(v) : v) - p.mean[c]) / p.std[c];
}

JP_FN int output_channels(const Params& p) { return p.colour == kGray ? 1 : 3; }

JP_FN bool shows_frame(const Params& p, int x, int y) {
  return x >= p.left && x < p.right && y >= p.top && y < p.bottom;
}

// ---- one pixel: GPUs, rotated crops --------------------------------------------------------------------------

template <int taps>
JP_FN void sample(const Params& p, const Image& image, int x, int y, float* value) {
  const double sx = p.inverse[0] * x + p.inverse[1] * y + p.inverse[2];
  const double sy = p.inverse[3] * x + p.inverse[4] * y + p.inverse[5];
  const Taps tx = taps_at<taps>(sx, image.width, p.replicate), ty = taps_at<taps>(sy, image.height, p.replicate);
  for (int i = 0; i < taps; ++i) {
    float column[3];
    for (int j = 0; j < taps; ++j) {
      const int fx = tx.index[i], fy = ty.index[j];
      u8 tap[3] = {0, 0, 0};
      const bool inside = fx >= 0 && fx < image.width && fy >= 0 && fy < image.height;
      if (inside) read(image, p.colour, fy, fx, fx + 1, tap);
      for (int c = 0; c < 3; ++c) {
        const float v = ty.weight[j] * (inside ? (float)tap[c] : p.pad);
        column[c] = j == 0 ? v : column[c] + v;
      }
    }
    for (int c = 0; c < 3; ++c) value[c] = i == 0 ? tx.weight[i] * column[c] : value[c] + tx.weight[i] * column[c];
  }
}

template <class Out>
JP_FN void pixel(const Params& p, const Image& image, int x, int y, Out* out) {
  float value[3] = {p.pad, p.pad, p.pad};
  if (shows_frame(p, x, y)) {
    if (p.cubic)
      sample<4>(p, image, x, y, value);
    else
      sample<2>(p, image, x, y, value);
  }
  for (int c = 0; c < output_channels(p); ++c)
    store(normalise(p, value[stored_channel(image, p.colour, c)], c), out + ((i64)c * p.height + y) * p.width + x);
}

// ---- whole rows: one CPU lane, axes not mixed -----------------------------------------------------------------

struct Scratch {
  int* index;     // taps * width: where a tap lies in `line`
  float* weight;  // taps * width
  float* line;    // 3 * (frame width + 2): one blended row, one pad pixel at either end
  u8* rows;       // kMaxTaps * 3 * frame width: rows after colour conversion
};

JP_FN bool axis_aligned(const Params& p) { return p.inverse[1] == 0 && p.inverse[3] == 0; }

// How `line` and converted rows are laid out: bytes of a frame stay interleaved, converted YUV is planar, which is
// what vector instructions write.
struct Layout {
  int parts;     // that are blended apart: 3 planes, or 1
  int channels;  // stored
  int step;      // from a pixel to the next
  i64 plane;     // from a channel to the next in `line`
};

JP_FN Layout layout_of(const Image& image, int colour) {
  const int channels = stored_channels(image, colour);
  if (image.format >= kNv12 && channels == 3) return {3, 3, 1, (i64)image.width + 2};
  return {1, channels, channels, 1};
}

// Columns of the frame that are read: [first, last], -1 and width being the pad pixels.
struct Span {
  int first, last;
};

template <int taps>
JP_FN Span plan_columns(const Params& p, const Image& image, const Layout& layout, const Scratch& s) {
  Span span{image.width, -1};
  for (int x = p.left; x < p.right; ++x) {
    const Taps t = taps_at<taps>(p.inverse[0] * x + p.inverse[2], image.width, p.replicate);
    for (int i = 0; i < taps; ++i) {
      s.index[i * p.width + x] = (t.index[i] + 1) * layout.step;
      s.weight[i * p.width + x] = t.weight[i];
      span.first = t.index[i] < span.first ? t.index[i] : span.first;
      span.last = t.index[i] > span.last ? t.index[i] : span.last;
    }
  }
  return span;
}

// Row y of a YUV frame as three planes of image.width bytes; columns [x0, x1), widened to whole pairs.
template <int format>
JP_FN void planar_as(const Image& image, int y, int x0, int x1, u8* __restrict__ to) {
  const u8* __restrict__ row = image.planes[0] + y * image.strides[0];
  const u8* __restrict__ uv = format == kNv12 ? image.planes[1] + (y >> 1) * image.strides[1] : nullptr;
  u8 *__restrict__ r = to, *__restrict__ g = to + image.width, *__restrict__ b = to + 2 * (i64)image.width;
  for (int i = x0 >> 1; i < (x1 + 1) >> 1; ++i) {
    const int y0 = format == kNv12 ? row[2 * i] : row[4 * i], y1 = format == kNv12 ? row[2 * i + 1] : row[4 * i + 2];
    const int u = (format == kNv12 ? uv[2 * i] : row[4 * i + 1]) - 128;
    const int v = (format == kNv12 ? uv[2 * i + 1] : row[4 * i + 3]) - 128;
    const Chroma c = chroma(u, v);
    const int l0 = luminance(y0), l1 = luminance(y1);
    r[2 * i] = clamp_byte((l0 + c.r) >> 20);
    r[2 * i + 1] = clamp_byte((l1 + c.r) >> 20);
    g[2 * i] = clamp_byte((l0 + c.g) >> 20);
    g[2 * i + 1] = clamp_byte((l1 + c.g) >> 20);
    b[2 * i] = clamp_byte((l0 + c.b) >> 20);
    b[2 * i + 1] = clamp_byte((l1 + c.b) >> 20);
  }
}

// Bytes of frame row y from column x0 on; straight from the frame where nothing must be converted. Converted rows
// are kept by y mod 4: the taps of one output row never share a slot, and neighbouring output rows share rows.
JP_FN const u8* row_bytes(const Params& p, const Image& image, const Layout& layout, int y, int x0, int x1,
                          const Scratch& s, int* kept) {
  const bool as_it_is = image.format == kGray8 || (image.format <= kRgb8 && p.colour != kGray);
  if (as_it_is) return image.planes[0] + y * image.strides[0] + (i64)x0 * layout.step;
  u8* to = s.rows + (i64)(y & 3) * 3 * image.width;
  if (kept[y & 3] != y) {
    if (layout.parts == 1)
      read(image, p.colour, y, x0, x1, to + x0);
    else if (image.format == kNv12)
      planar_as<kNv12>(image, y, x0, x1, to);
    else
      planar_as<kYuyv>(image, y, x0, x1, to);
    kept[y & 3] = y;
  }
  return to + x0;
}

template <int taps>
JP_FN void blend(const u8* const* rows, const float* w, int n, float pad, float* __restrict__ to) {
  bool all = true;
  for (int j = 0; j < taps; ++j) all = all && rows[j] != nullptr;
  if (!all) {  // some rows lie outside the frame
    for (int k = 0; k < n; ++k) {
      float sum = w[0] * (rows[0] ? (float)rows[0][k] : pad);
      for (int j = 1; j < taps; ++j) sum += w[j] * (rows[j] ? (float)rows[j][k] : pad);
      to[k] = sum;
    }
  } else if (taps == 4) {
    const u8 *a = rows[0], *b = rows[1], *c = rows[taps / 2], *d = rows[taps - 1];
    for (int k = 0; k < n; ++k) to[k] = w[0] * a[k] + w[1] * b[k] + w[taps / 2] * c[k] + w[taps - 1] * d[k];
  } else {
    const u8 *a = rows[0], *b = rows[1];
    for (int k = 0; k < n; ++k) to[k] = w[0] * a[k] + w[1] * b[k];
  }
}

// Row y of `line`: the frame's rows blended over the span.
template <int taps>
JP_FN void blend_row(const Params& p, const Image& image, const Layout& layout, int y, Span span, const Scratch& s,
                     int* kept) {
  const Taps ty = taps_at<taps>(p.inverse[4] * y + p.inverse[5], image.height, p.replicate);
  const int x0 = clampi(span.first, 0, image.width), x1 = clampi(span.last + 1, x0, image.width);
  const u8* rows[taps];
  float outside = 0;
  for (int j = 0; j < taps; ++j) {
    const int fy = ty.index[j];
    const bool inside = fy >= 0 && fy < image.height && x0 < x1;
    rows[j] = inside ? row_bytes(p, image, layout, fy, x0, x1, s, kept) : nullptr;
    outside = j == 0 ? ty.weight[j] * p.pad : outside + ty.weight[j] * p.pad;
  }
  for (int part = 0; part < layout.parts; ++part) {
    const u8* planes[taps];
    for (int j = 0; j < taps; ++j) planes[j] = rows[j] ? rows[j] + (i64)part * image.width : nullptr;
    float* to = s.line + part * layout.plane + (i64)(x0 + 1) * layout.step;
    blend<taps>(planes, ty.weight, (x1 - x0) * layout.step, p.pad, to);
  }
  for (int c = 0; c < layout.channels; ++c) {
    s.line[c * layout.plane] = outside;
    s.line[c * layout.plane + (i64)(image.width + 1) * layout.step] = outside;
  }
}

template <int taps, class Out>
JP_FN void resample_row(const Params& p, const float* line, const Scratch& s, int c, Out* to) {
  const int *i0 = s.index, *i1 = i0 + p.width;
  const int *i2 = s.index + (taps - 2) * p.width, *i3 = i2 + p.width;
  const float *w0 = s.weight, *w1 = w0 + p.width;
  const float *w2 = s.weight + (taps - 2) * p.width, *w3 = w2 + p.width;
  const float mean = p.mean[c], std = p.std[c];
  const bool rounds = p.round_pixels != 0;
  for (int x = p.left; x < p.right; ++x) {
    float v = w0[x] * line[i0[x]] + w1[x] * line[i1[x]];
    if (taps == 4) v = v + w2[x] * line[i2[x]] + w3[x] * line[i3[x]];
    const float rounded = round_pixel(v);
    store(((rounds ? rounded : v) - mean) / std, to + x);
  }
}

template <int taps, class Out>
JP_FN void rows(const Params& p, const Image& image, const Scratch& s, Out* out) {
  const Layout layout = layout_of(image, p.colour);
  const Span span = plan_columns<taps>(p, image, layout, s);
  int kept[kMaxTaps] = {-1, -1, -1, -1};
  for (int y = 0; y < p.height; ++y) {
    const bool shown = y >= p.top && y < p.bottom && p.left < p.right;
    if (shown) blend_row<taps>(p, image, layout, y, span, s, kept);
    for (int c = 0; c < output_channels(p); ++c) {
      Out* to = out + ((i64)c * p.height + y) * p.width;
      Out pad;
      store(normalise(p, p.pad, c), &pad);
      const int left = shown ? p.left : p.width, right = shown ? p.right : p.width;
      for (int x = 0; x < left; ++x) to[x] = pad;
      if (shown) resample_row<taps>(p, s.line + stored_channel(image, p.colour, c) * layout.plane, s, c, to);
      for (int x = right; x < p.width; ++x) to[x] = pad;
    }
  }
}

// out: (channels, height, width), float or half bits. Scratch is used by the serial group only.
template <class Group, class Out>
JP_FN void run(const Group& g, const Params& p, const Image& image, const Scratch& scratch, Out* out) {
  if constexpr (Group::serial) {
    if (axis_aligned(p)) {
      if (p.cubic)
        rows<4>(p, image, scratch, out);
      else
        rows<2>(p, image, scratch, out);
      return;
    }
  }
  for (int y = g.rank(); y < p.height; y += g.size())
    for (int x = 0; x < p.width; ++x) pixel(p, image, x, y, out);
  g.sync();
}

}  // namespace preprocess
}  // namespace jetpose
