// Tests only: a group of several CPU threads, so that a missing sync() or a result that depends on the number of
// lanes shows without a GPU (run it under ThreadSanitizer).
#pragma once
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "group.cuh"

namespace jetpose {

class Barrier {
 public:
  explicit Barrier(int count) : count_(count) {}
  void wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    const u64 round = round_;
    if (++waiting_ == count_) {
      waiting_ = 0;
      ++round_;
      all_here_.notify_all();
    } else {
      all_here_.wait(lock, [&] { return round != round_; });
    }
  }

 private:
  std::mutex mutex_;
  std::condition_variable all_here_;
  int count_, waiting_ = 0;
  u64 round_ = 0;
};

struct LanesShared {
  explicit LanesShared(int n) : barrier(n), key(n), sum(n) {}
  Barrier barrier;
  std::vector<u64> key;
  std::vector<int> sum;
};

struct ThreadGroup {
  static constexpr bool serial = false;
  int rank_, size_;
  LanesShared* shared;

  int rank() const { return rank_; }
  int size() const { return size_; }
  void sync() const { shared->barrier.wait(); }

  u64 max(u64 v) const {
    sync();
    shared->key[rank_] = v;
    sync();
    for (u64 other : shared->key)
      if (other > v) v = other;
    return v;
  }

  int scan(int v, int& total) const {
    sync();
    shared->sum[rank_] = v;
    sync();
    int before = 0;
    total = 0;
    for (int r = 0; r < size_; ++r) {
      if (r < rank_) before += shared->sum[r];
      total += shared->sum[r];
    }
    return before;
  }
};

template <class Body>
void run_lanes(int lanes, Body&& body) {
  LanesShared shared(lanes);
  std::vector<std::thread> threads;
  for (int r = 1; r < lanes; ++r) threads.emplace_back([&, r] { body(ThreadGroup{r, lanes, &shared}); });
  body(ThreadGroup{0, lanes, &shared});
  for (auto& t : threads) t.join();
}

}  // namespace jetpose
