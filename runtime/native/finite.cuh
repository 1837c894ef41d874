// Whether values are finite: a network whose outputs are not is broken, and decoders would pass over its NaN.
#pragma once
#include "group.cuh"

namespace jetpose {
namespace nonfinite {

// One of `parts` interleaved parts of the values: 1 if it has NaN or infinity, given to all lanes.
template <class Group>
JP_FN int any(const Group& g, const float* values, i64 count, int part, int parts) {
  u64 bad = 0;
  const i64 step = (i64)g.size() * parts;
  for (i64 i = (i64)part * g.size() + g.rank(); i < count; i += step) bad |= !finite(values[i]);
  return (int)g.max(bad);
}

}  // namespace nonfinite
}  // namespace jetpose
