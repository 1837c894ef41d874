#include "bind_launch.hpp"

namespace jetpose {
namespace {

nb::bytes as_bytes(const std::vector<u8>& from) { return nb::bytes(from.data(), from.size()); }

nb::tuple size3(const Size3& s) { return nb::make_tuple(s[0], s[1], s[2]); }

nb::list launches(const Plan& plan) {
  nb::list out;
  for (const Launch& launch : plan.launches) out.append(as_tuple(launch));
  return out;
}

nb::list uploads(const Plan& plan) {
  nb::list out;
  for (const Upload& upload : plan.uploads) out.append(nb::make_tuple(upload.offset, as_bytes(upload.bytes)));
  return out;
}

}  // namespace

nb::tuple as_tuple(const Launch& launch) {
  return nb::make_tuple(launch.kernel, size3(launch.grid), size3(launch.block), as_bytes(launch.arguments));
}

void bind_launch(nb::module_& m) {
  nb::class_<Plan>(m, "Plan")
      .def_ro("bytes", &Plan::bytes)
      .def_prop_ro("uploads", &uploads)
      .def_prop_ro("launches", &launches)
      .def_ro("result", &Plan::result)
      .def_ro("result_bytes", &Plan::result_bytes)
      .def_ro("count", &Plan::count)
      .def_ro("scores", &Plan::scores)
      .def_ro("keypoints", &Plan::keypoints);
}

}  // namespace jetpose
