#include <nanobind/stl/array.h>

#include "bind.hpp"
#include "tracking.hpp"

namespace jetpose {
namespace {

constexpr std::size_t kMost = 1 << 14;  // people, tracks, keypoints

// Of people (N, K, 3): area and mean score, each (N,).
void measure_people(Array<const float, 3> people, Array<double, 1> areas, Array<double, 1> scores) {
  const std::size_t n = people.shape(0), k = people.shape(1);
  require(people.shape(2) == 3 && k <= kMost, "people must be (N, K, 3)");
  require(areas.shape(0) == n && scores.shape(0) == n, "areas and scores must be (N,)");
  for (std::size_t i = 0; i < n; ++i) {
    areas.data()[i] = tracking::extent(people.data() + 3 * i * k, (int)k);
    scores.data()[i] = tracking::clearness(people.data() + 3 * i * k, (int)k);
  }
}

// Tracks (T, ...), changed in place, of the people (N, K, 3) with track_of (N,) from 0; each found after steps (T,).
void track_correct(Array<const float, 3> people, Array<const std::int64_t, 1> track_of, Array<const double, 1> steps,
                   double velocity_s, Array<double, 3> points, Array<double, 2> velocities) {
  const std::size_t n = people.shape(0), k = people.shape(1), t = points.shape(0);
  require(people.shape(2) == 3 && k <= kMost, "track correct: people must be (N, K, 3)");
  require(points.shape(1) == k && points.shape(2) == 2, "track correct: points must be (T, K, 2)");
  require(velocities.shape(0) == t && velocities.shape(1) == 2, "track correct: velocities must be (T, 2)");
  require(track_of.shape(0) == n && steps.shape(0) == t, "track correct: one track of each person, one step of each");
  for (std::size_t i = 0; i < n; ++i) {
    const std::int64_t row = track_of.data()[i];
    if (row < 0) continue;
    require((std::size_t)row < t, "track correct: no such track");
    tracking::correct(people.data() + 3 * i * k, (int)k, steps.data()[row], velocity_s, points.data() + 2 * row * k,
                      velocities.data() + 2 * row);
  }
}

// The area of a pair is the larger of both, times the track's growth.
void track_oks(Array<const double, 3> tracks, Array<const double, 1> track_areas, Array<const double, 1> growth,
               Array<const float, 3> people, Array<const double, 1> areas, Array<const double, 1> falloff, int least,
               Array<double, 2> out) {
  const std::size_t t = tracks.shape(0), n = people.shape(0), k = people.shape(1);
  require(tracks.shape(1) == k && tracks.shape(2) == 2, "track OKS: tracks must be (T, K, 2)");
  require(people.shape(2) == 3, "track OKS: people must be (N, K, 3)");
  require(track_areas.shape(0) == t && growth.shape(0) == t && areas.shape(0) == n, "track OKS: one area each");
  require(falloff.shape(0) == k, "track OKS: one falloff per keypoint");
  require(out.shape(0) == n && out.shape(1) == t, "track OKS: out must be (N, T)");
  require(t <= kMost && n <= kMost && k <= kMost, "track OKS: too many");
  nb::gil_scoped_release released;
  for (std::size_t j = 0; j < n; ++j) {
    for (std::size_t i = 0; i < t; ++i) {
      const double a = track_areas.data()[i], b = areas.data()[j];
      const double area = (a > b ? a : b) * growth.data()[i];
      out.data()[j * t + i] = tracking::similarity(tracks.data() + 2 * i * k, people.data() + 3 * j * k, area,
                                                   falloff.data(), (int)k, least);
    }
  }
}

void assign(Array<const double, 2> values, double least, Array<std::int64_t, 1> out) {
  const std::size_t rows = values.shape(0), columns = values.shape(1);
  require(rows <= kMost && columns <= kMost, "assign: too many");
  require(out.shape(0) == rows, "assign: out must be (rows,)");
  require(least > 0, "assign: least must be above 0");
  thread_local tracking::Assignment assignment;
  nb::gil_scoped_release released;
  assignment.solve(values.data(), (int)rows, (int)columns, least, out.data());
}

// people (N, K, 3), their slots (N,) and sizes (N,); memory (slots, K, 5), changed in place; out (N, K, 3)
void smooth(Array<const float, 3> people, Array<const std::int64_t, 1> slots, Array<const double, 1> sizes, double now_s,
            std::array<double, 5> settings, Array<double, 3> memory, Array<float, 3> out) {
  const std::size_t n = people.shape(0), k = people.shape(1);
  require(people.shape(2) == 3, "smooth: people must be (N, K, 3)");
  require(slots.shape(0) == n && sizes.shape(0) == n, "smooth: one slot and one size each");
  require(memory.shape(1) == k && memory.shape(2) == 5, "smooth: memory must be (slots, K, 5)");
  require(out.shape(0) == n && out.shape(1) == k && out.shape(2) == 3, "smooth: out must be (N, K, 3)");
  static_assert(sizeof(tracking::Memory) == 5 * sizeof(double), "a row of the memory");
  const tracking::Smoothing s{settings[0], settings[1], settings[2], settings[3], settings[4]};
  for (std::size_t i = 0; i < n; ++i)
    require(slots.data()[i] >= 0 && (std::size_t)slots.data()[i] < memory.shape(0), "smooth: no such slot");
  auto* memories = reinterpret_cast<tracking::Memory*>(memory.data());
  nb::gil_scoped_release released;
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < k; ++j) {
      const float* from = people.data() + 3 * (i * k + j);
      float* to = out.data() + 3 * (i * k + j);
      if (tracking::present(from)) {
        tracking::smooth(s, from, sizes.data()[i], now_s, memories[slots.data()[i] * k + j], to);
      } else {
        to[0] = to[1] = std::numeric_limits<float>::quiet_NaN();
        to[2] = 0;
      }
    }
  }
}

}  // namespace

void bind_tracking(nb::module_& m) {
  m.def("measure_people", &measure_people);
  m.def("track_correct", &track_correct);
  m.def("track_oks", &track_oks);
  m.def("assign", &assign);
  m.def("smooth", &smooth);
}

}  // namespace jetpose
