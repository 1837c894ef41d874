// The extension module: of every operation the CPU build, and what a GPU shall launch. One bind_*.cpp per operation.
#include "bind.hpp"

// True where this processor can run the module built for x86-64-v3 (AVX2, FMA, BMI2).
static bool supports_v3() {
#if defined(__x86_64__) && defined(__GNUC__)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
#else
  return false;
#endif
}

NB_MODULE(JETPOSE_MODULE, m) {
  nb::set_leak_warnings(false);  // Python caches some objects until it ends
  m.def("supports_v3", &supports_v3);
  jetpose::bind_launch(m);
  jetpose::bind_embedding(m);
  jetpose::bind_heatmap(m);
  jetpose::bind_offset(m);
  jetpose::bind_preprocess(m);
  jetpose::bind_paf(m);
  jetpose::bind_tracking(m);
  jetpose::bind_vector(m);
  jetpose::bind_window(m);
}
