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

}  // namespace nonfinite
}  // namespace jetpose
