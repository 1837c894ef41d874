// Whether values are finite: a network whose outputs are not is broken, and decoders would pass over its NaN.
#pragma once
#include "group.cuh"

namespace jetpose {
namespace nonfinite {

struct alignas(16) Four {
  float v[4];
};

// 0 if all are finite, else NaN: v - v is 0, or NaN where v is not finite.
JP_FN float residue(const Four& f) {
  return (f.v[0] - f.v[0]) + (f.v[1] - f.v[1]) + (f.v[2] - f.v[2]) + (f.v[3] - f.v[3]);
}

// One of `parts` interleaved parts of the values: 1 if it has NaN or infinity, given to all lanes. Four values a load
// and four loads under way where the address allows it: the kernel does nothing but wait for memory.
template <class Group>
JP_FN int any(const Group& g, const float* values, i64 count, int part, int parts) {
  const i64 lane = (i64)part * g.size() + g.rank(), lanes = (i64)g.size() * parts;
  float sum = 0;
  i64 done = 0;
  if ((u64)values % sizeof(Four) == 0) {
    const Four* fours = reinterpret_cast<const Four*>(values);
    const i64 n = count / 4;
    i64 i = lane;
    for (; i + 3 * lanes < n; i += 4 * lanes) {
      const Four a = fours[i], b = fours[i + lanes], c = fours[i + 2 * lanes], d = fours[i + 3 * lanes];
      sum += (residue(a) + residue(b)) + (residue(c) + residue(d));
    }
    for (; i < n; i += lanes) sum += residue(fours[i]);
    done = 4 * n;
  }
  for (i64 i = done + lane; i < count; i += lanes) sum += values[i] - values[i];
  return (int)g.max(sum == 0.0f ? 0 : 1);
}

// ---- float16 outputs: checked, and widened for the decoders, in the same pass ---------------------------------

using Half = unsigned short;  // IEEE half, bits

struct alignas(16) EightHalves {
  Half v[8];
};

// Exact. A half's exponent field, put where a float's is, is 112 too small; subnormals follow from the same product.
JP_FN float from_half(Half half) {
  const u32 magnitude = half & 0x7fffu, sign = (u32)(half & 0x8000u) << 16;
  if (magnitude >= 0x7c00u) return from_bits(sign | 0x7f800000u | magnitude << 13);
  return from_bits(sign | magnitude << 13) * 5192296858534827628530496329220096.0f;  // 2^112
}

// As `any`; out gets the values as floats and is aligned as wide stores want it.
template <class Group>
JP_FN int widen(const Group& g, const Half* values, i64 count, float* out, int part, int parts) {
  const i64 lane = (i64)part * g.size() + g.rank(), lanes = (i64)g.size() * parts;
  float sum = 0;
  i64 done = 0;
  if ((u64)values % sizeof(EightHalves) == 0) {
    const EightHalves* eights = reinterpret_cast<const EightHalves*>(values);
    Four* fours = reinterpret_cast<Four*>(out);
    for (i64 i = lane; i < count / 8; i += lanes) {
      const EightHalves e = eights[i];
      const Four low{{from_half(e.v[0]), from_half(e.v[1]), from_half(e.v[2]), from_half(e.v[3])}};
      const Four high{{from_half(e.v[4]), from_half(e.v[5]), from_half(e.v[6]), from_half(e.v[7])}};
      fours[2 * i] = low;
      fours[2 * i + 1] = high;
      sum += residue(low) + residue(high);
    }
    done = count / 8 * 8;
  }
  for (i64 i = done + lane; i < count; i += lanes) {
    out[i] = from_half(values[i]);
    sum += out[i] - out[i];
  }
  return (int)g.max(sum == 0.0f ? 0 : 1);
}

}  // namespace nonfinite
}  // namespace jetpose
