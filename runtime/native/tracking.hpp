// Poses over time, on the CPU only: how alike tracks and detections are, who is matched with whom, and smoothing.
#pragma once
#include <math.h>

#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

namespace jetpose {
namespace tracking {

template <class Number>
bool is_finite(Number v) {
  return v - v == 0;
}

// Of keypoints as (x, y, score).
inline bool present(const float* p) { return p[2] > 0 && is_finite(p[0]) && is_finite(p[1]); }

// Area of the box around a person's keypoints, pixels^2; each side at least 1. keypoints (joints, 3).
inline double extent(const float* keypoints, int joints) {
  const double infinity = std::numeric_limits<double>::infinity();
  double low[2] = {infinity, infinity}, high[2] = {-infinity, -infinity};
  for (int k = 0; k < joints; ++k) {
    const float* p = keypoints + 3 * k;
    if (!present(p)) continue;
    for (int c = 0; c < 2; ++c) {
      low[c] = p[c] < low[c] ? p[c] : low[c];
      high[c] = p[c] > high[c] ? p[c] : high[c];
    }
  }
  const double width = high[0] - low[0], height = high[1] - low[1];
  return (width > 1 ? width : 1) * (height > 1 ? height : 1);
}

// Mean score of the keypoints that are there; 0 where none is.
inline double clearness(const float* keypoints, int joints) {
  double total = 0;
  int number = 0;
  for (int k = 0; k < joints; ++k) {
    if (!present(keypoints + 3 * k)) continue;
    total += keypoints[3 * k + 2];
    ++number;
  }
  return number ? total / number : 0.0;
}

// A track is where its person was found; what is missing of them moves along with the rest, and the velocity takes
// over from the old one within velocity_s. point (joints, 2), NaN: unknown; person (joints, 3).
inline void correct(const float* person, int joints, double step_s, double velocity_s, double* points,
                    double* velocity) {
  double off[2] = {0, 0};
  int both = 0;
  for (int k = 0; k < joints; ++k) {
    if (!present(person + 3 * k) || !is_finite(points[2 * k])) continue;
    ++both;
    for (int c = 0; c < 2; ++c) off[c] += person[3 * k + c] - points[2 * k + c];
  }
  for (int c = 0; c < 2; ++c) {
    off[c] /= both ? both : 1;
    velocity[c] += off[c] * (1 - exp(-step_s / velocity_s)) / step_s;
    for (int k = 0; k < joints; ++k) {
      if (present(person + 3 * k))
        points[2 * k + c] = person[3 * k + c];
      else
        points[2 * k + c] += off[c];
    }
  }
}

// OKS of one track and one person over the keypoints that both have, as if those were at least `least` many.
// track (joints, 2), NaN: unknown; person (joints, 3); falloff: 1 / (8 sigma^2) per joint.
inline double similarity(const double* track, const float* person, double area, const double* falloff, int joints,
                         int least) {
  constexpr double kNothing = 14;  // exp(-14) is a millionth: most pairs are far apart, and exp is what takes time
  const double per_area = 1 / area;
  double total = 0;
  int both = 0;
  for (int k = 0; k < joints; ++k) {
    const double* t = track + 2 * k;
    const float* p = person + 3 * k;
    if (!present(p) || !is_finite(t[0])) continue;
    ++both;
    const double dx = t[0] - p[0], dy = t[1] - p[1];
    const double exponent = (dx * dx + dy * dy) * falloff[k] * per_area;
    if (exponent < kNothing) total += exp(-exponent);
  }
  return both ? total / (both > least ? both : least) : 0.0;
}

// Rows to columns one to one so that the sum of their values is largest; values below `least` (above 0) are no pairs.
// Shortest augmenting paths with potentials (Jonker & Volgenant 1987; rectangular: Crouse 2016). column_of (rows): -1
// for nobody. Ties go to the lower index.
class Assignment {
 public:
  void solve(const double* values, int rows, int columns, double least, std::int64_t* column_of) {
    turned_ = rows > columns;  // the algorithm needs at least as many columns
    n_ = turned_ ? columns : rows;
    m_ = turned_ ? rows : columns;
    values_ = values;
    stride_ = columns;
    least_ = least;
    row_price_.assign(n_, 0.0);
    column_price_.assign(m_, 0.0);
    row_of_.assign(m_, -1);
    column_of_.assign(n_, -1);
    for (int i = 0; i < n_; ++i) augment(i);
    for (int i = 0; i < rows; ++i) column_of[i] = -1;
    for (int j = 0; j < m_; ++j) {
      if (row_of_[j] < 0 || cost(row_of_[j], j) == 0) continue;
      column_of[turned_ ? j : row_of_[j]] = turned_ ? row_of_[j] : j;
    }
  }

 private:
  double cost(int i, int j) const {
    const double v = turned_ ? values_[(std::size_t)j * stride_ + i] : values_[(std::size_t)i * stride_ + j];
    return v >= least_ ? -v : 0.0;  // NaN is no pair either
  }

  // Dijkstra over reduced costs from a free row to the nearest free column, then the path is turned over.
  void augment(int start) {
    const double infinity = std::numeric_limits<double>::infinity();
    distance_.assign(m_, infinity);
    before_.assign(m_, -1);  // the row that reached the column
    settled_.assign(m_, 0);
    int row = start, end = -1;
    double reached = 0;
    while (end < 0) {
      int nearest = -1;
      for (int j = 0; j < m_; ++j) {
        if (settled_[j]) continue;
        const double d = reached + cost(row, j) - row_price_[row] - column_price_[j];
        if (d < distance_[j]) {
          distance_[j] = d;
          before_[j] = row;
        }
        if (nearest < 0 || distance_[j] < distance_[nearest]) nearest = j;
      }
      reached = distance_[nearest];
      settled_[nearest] = 1;
      if (row_of_[nearest] < 0)
        end = nearest;
      else
        row = row_of_[nearest];
    }
    row_price_[start] += reached;
    for (int j = 0; j < m_; ++j) {
      if (!settled_[j]) continue;
      if (row_of_[j] >= 0) row_price_[row_of_[j]] += reached - distance_[j];
      column_price_[j] -= reached - distance_[j];
    }
    for (int i = -1, j = end; i != start;) {
      i = before_[j];
      row_of_[j] = i;
      std::swap(column_of_[i], j);
    }
  }

  bool turned_ = false;
  int n_ = 0, m_ = 0, stride_ = 0;
  double least_ = 0;
  const double* values_ = nullptr;
  std::vector<double> row_price_, column_price_, distance_;
  std::vector<int> row_of_, column_of_, before_;
  std::vector<char> settled_;
};

// What a keypoint's filter remembers.
struct Memory {
  double x[2];    // filtered position, pixels
  double v[2];    // filtered speed, pixels per second
  double seen_s;  // when it was there last
};

struct Smoothing {
  double min_cutoff_hz, beta, speed_cutoff_hz, full_score, gap_s;
};

// Weight of a new value against the filtered one: Te / (Te + tau), tau = 1 / (2 pi cutoff) (Casiez et al. 2012).
inline double weight(double step_s, double cutoff_hz) {
  const double turns = 6.283185307179586 * cutoff_hz * step_s;
  return turns / (1 + turns);
}

// One keypoint (x, y, score) through its One-Euro filter, in place of the person's `size` in pixels.
inline void smooth(const Smoothing& s, const float* from, double size, double now_s, Memory& m, float* to) {
  const double step_s = now_s - m.seen_s;
  m.seen_s = now_s;
  if (!(step_s <= s.gap_s)) {  // never seen, or too long ago
    m = {{from[0], from[1]}, {0, 0}, now_s};
  } else if (step_s > 0) {
    const double sure = from[2] / s.full_score, counted_s = step_s * (sure < 1 ? sure * sure : 1);
    for (int c = 0; c < 2; ++c) {
      const double off = from[c] - m.x[c];
      m.v[c] += weight(counted_s, s.speed_cutoff_hz) * (off / step_s - m.v[c]);
      m.x[c] += weight(counted_s, s.min_cutoff_hz + s.beta * fabs(m.v[c]) / size) * off;
    }
  }
  to[0] = (float)m.x[0];
  to[1] = (float)m.x[1];
  to[2] = from[2];
}

}  // namespace tracking
}  // namespace jetpose
