// Optimal assignment: the one-to-one choice of pairs with the largest sum of scores, every row taken.
//
// Shortest augmenting paths with dual prices (Jonker and Volgenant 1987; Crouse 2016): the same optimum as Munkres'
// method. Each row in turn searches the cheapest path to a free column; O(rows^2 * columns). Columns are shared by the
// lanes; equal costs take the lowest column.
#pragma once
#include "group.cuh"

namespace jetpose {
namespace paf {

struct Assignment {
  float *row_price, *column_price;  // dual variables
  float* distance;                  // of each column from the row that searches
  int* parent;                      // row through which the column was reached
  int *row_of, *column_of;          // results; -1: none
  u8* reached;                      // column is settled
};

// score(i, j) = scores[i * row_step + j * column_step], finite; rows <= columns.
template <class Group>
JP_FN void assign(const Group& g, const float* scores, int row_step, int column_step, int rows, int columns,
                  const Assignment& a) {
  constexpr float kHuge = 1e9f;  // scores are held inside +-kHuge, so that no price overflows
  for (int j = g.rank(); j < columns; j += g.size()) {
    a.column_price[j] = 0;
    a.row_of[j] = -1;
  }
  for (int i = g.rank(); i < rows; i += g.size()) {
    a.row_price[i] = 0;
    a.column_of[i] = -1;
  }
  g.sync();  // there may be no row at all
  for (int start = 0; start < rows; ++start) {
    for (int j = g.rank(); j < columns; j += g.size()) {
      a.distance[j] = -negative_infinity();
      a.reached[j] = 0;
    }
    g.sync();
    int row = start, sink = -1;
    float shortest = 0;
    for (int step = 0; step < columns && sink < 0; ++step) {  // each step settles one column
      u64 best = 0;
      for (int j = g.rank(); j < columns; j += g.size()) {
        if (a.reached[j]) continue;
        const float score = scores[(i64)row * row_step + (i64)j * column_step];
        const float cost = score > kHuge ? -kHuge : score < -kHuge ? kHuge : -score;
        const float through = shortest + cost - a.row_price[row] - a.column_price[j];
        if (through < a.distance[j]) {
          a.distance[j] = through;
          a.parent[j] = row;
        }
        const u64 key = score_key(-a.distance[j], (u32)j);
        best = key > best ? key : best;
      }
      best = g.max(best);
      const int column = (int)key_position(best);
      shortest = -key_score(best);
      if (column % g.size() == g.rank()) a.reached[column] = 1;
      row = a.row_of[column];
      if (row < 0) sink = column;
    }
    g.sync();
    for (int j = g.rank(); j < columns; j += g.size())
      if (a.reached[j]) {
        const float rest = shortest - a.distance[j];
        a.column_price[j] -= rest;
        if (a.row_of[j] >= 0) a.row_price[a.row_of[j]] += rest;  // each row holds one column: no two lanes meet
      }
    g.sync();
    if (g.rank() == 0) {
      a.row_price[start] += shortest;
      for (int j = sink, i = -1; i != start;) {  // turn the path around
        i = a.parent[j];
        a.row_of[j] = i;
        const int next = a.column_of[i];
        a.column_of[i] = j;
        j = next;
      }
    }
    g.sync();
  }
}

}  // namespace paf
}  // namespace jetpose
