// Minimum-cost assignment: the textbook six-step Munkres algorithm, with every free choice fixed.
//
// The costs of associative embedding move in steps of 100, so the optimum is often not unique and the person that a
// joint goes to depends on the order in which zeros are visited. The authors' results come from the Python package
// munkres 1.1.4; its order is kept here: row minima only are subtracted at first, zeros are starred row by row in the
// first free column, and an uncovered zero is searched row by row, cyclically from the row of the zero primed before,
// columns cyclically from the column uncovered last; in the first row that has one, the last one met is taken.
#pragma once
#include "group.cuh"

namespace jetpose {
namespace assignment {

constexpr int kMaxSize = 64;  // rows and columns: a set of columns is one 64-bit mask

struct Problem {
  double cost[kMaxSize * kMaxSize];  // row i, column j at i * kMaxSize + j; finite; overwritten
  u64 zeros[kMaxSize];               // per row: the columns whose cost is zero now
  u64 covered_rows, covered_columns;
  int star_in_row[kMaxSize];     // column of the row's starred zero, -1: none; the result
  int star_in_column[kMaxSize];  // row of the column's starred zero, -1: none
  int prime_in_row[kMaxSize];    // column of the row's primed zero, -1: none
  int stars;
};

JP_FN int highest_bit(u64 mask) {
#ifdef __CUDA_ARCH__
  return 63 - __clzll((long long)mask);
#else
  return 63 - __builtin_clzll(mask);
#endif
}

// Bits of a positive double order as the numbers do.
JP_FN u64 double_bits(double v) {
  u64 bits;
#ifdef __CUDA_ARCH__
  bits = (u64)__double_as_longlong(v);
#else
  memcpy(&bits, &v, sizeof bits);
#endif
  return bits;
}
JP_FN double bits_double(u64 bits) {
  double v;
#ifdef __CUDA_ARCH__
  v = __longlong_as_double((long long)bits);
#else
  memcpy(&v, &bits, sizeof v);
#endif
  return v;
}

JP_FN void mark_zeros(Problem& p, int row, int n) {
  u64 zeros = 0;
  for (int j = 0; j < n; ++j) zeros |= (u64)(p.cost[row * kMaxSize + j] == 0) << j;
  p.zeros[row] = zeros;
}

// Columns with a star are covered, rows are not, nothing is primed: the start of each search.
JP_FN void cover_stars(Problem& p, int n) {
  p.covered_rows = p.covered_columns = 0;
  for (int i = 0; i < n; ++i) {
    p.prime_in_row[i] = -1;
    if (p.star_in_row[i] >= 0) p.covered_columns |= 1ull << p.star_in_row[i];
  }
}

JP_FN void star_greedily(Problem& p, int n) {
  for (int j = 0; j < n; ++j) p.star_in_column[j] = -1;
  u64 taken = 0;
  p.stars = 0;
  for (int i = 0; i < n; ++i) {
    const u64 open = p.zeros[i] & ~taken;
    p.star_in_row[i] = -1;
    if (open) {
      const int j = highest_bit(open & (~open + 1));  // the lowest
      p.star_in_row[i] = j;
      p.star_in_column[j] = i;
      taken |= 1ull << j;
      ++p.stars;
    }
  }
  cover_stars(p, n);
}

// Moves row and column on to the next uncovered zero; false: there is none.
JP_FN bool find_zero(const Problem& p, int n, int& row, int& column) {
  const u64 before = (1ull << column) - 1;
  for (int step = 0; step < n; ++step) {
    const int i = row + step < n ? row + step : row + step - n;
    const u64 open = p.covered_rows >> i & 1 ? 0 : p.zeros[i] & ~p.covered_columns;
    if (!open) continue;
    row = i;
    column = highest_bit(open & before ? open & before : open);
    return true;
  }
  return false;
}

// From an uncovered zero without a star in its row: primes become stars along the alternating path.
JP_FN void augment(Problem& p, int n, int row, int column) {
  for (;;) {
    const int displaced = p.star_in_column[column];
    p.star_in_row[row] = column;
    p.star_in_column[column] = row;
    if (displaced < 0) break;
    row = displaced;
    column = p.prime_in_row[row];
  }
  ++p.stars;
  cover_stars(p, n);
}

// Primes zeros and augments until all rows are starred (true) or no uncovered zero is left (false). One lane.
JP_FN bool search(Problem& p, int n) {
  while (p.stars < n) {
    int row = 0, column = 0;
    for (;;) {
      if (!find_zero(p, n, row, column)) return false;
      p.prime_in_row[row] = column;
      if (p.star_in_row[row] < 0) break;
      column = p.star_in_row[row];
      p.covered_rows |= 1ull << row;
      p.covered_columns &= ~(1ull << column);
    }
    augment(p, n, row, column);
  }
  return true;
}

// Adds the smallest uncovered cost to the covered rows and subtracts it from the uncovered columns. The two steps
// stay apart where both apply: with large costs the rounding of their sum decides later ties.
template <class Group>
JP_FN void adjust_costs(const Group& g, Problem& p, int n) {
  u64 smallest = 0;  // complement of the bits, so that max() finds the minimum
  for (int i = g.rank(); i < n; i += g.size()) {
    if (p.covered_rows >> i & 1) continue;
    for (int j = 0; j < n; ++j) {
      if (p.covered_columns >> j & 1) continue;
      const u64 key = ~double_bits(p.cost[i * kMaxSize + j]);
      if (key > smallest) smallest = key;
    }
  }
  const double value = bits_double(~g.max(smallest));
  for (int i = g.rank(); i < n; i += g.size()) {
    for (int j = 0; j < n; ++j) {
      double& cost = p.cost[i * kMaxSize + j];
      if (p.covered_rows >> i & 1) cost += value;
      if (!(p.covered_columns >> j & 1)) cost -= value;
    }
    mark_zeros(p, i, n);
  }
}

// Solves the n x n problem, 1 <= n <= kMaxSize; afterwards star_in_row[i] is the column of row i.
// Ends for all finite costs: starred and primed zeros stay exactly zero, and each adjustment frees a new zero, so a
// row is covered or starred at least every second step.
template <class Group>
JP_FN void solve(const Group& g, Problem& p, int n) {
  for (int i = g.rank(); i < n; i += g.size()) {
    double* row = p.cost + i * kMaxSize;
    double smallest = row[0];
    for (int j = 1; j < n; ++j) smallest = row[j] < smallest ? row[j] : smallest;
    for (int j = 0; j < n; ++j) row[j] -= smallest;
    mark_zeros(p, i, n);
  }
  g.sync();
  if (g.rank() == 0) star_greedily(p, n);
  for (;;) {
    if (g.rank() == 0) search(p, n);
    g.sync();
    if (p.stars == n) break;
    adjust_costs(g, p, n);
    g.sync();
  }
}

}  // namespace assignment
}  // namespace jetpose
