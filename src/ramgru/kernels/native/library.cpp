// The instruction sets of this processor, and the OpenMP runtime that all kernels share.
#include <cstring>

#define RAMGRU_ISA baseline
#include "entry.h"
#include "parallel.h"
#include "scratch.h"

namespace ramgru {
Runtime runtime{};
}

RAMGRU_API void ramgru_set_runtime(void* parallel, void* thread_number, void* team_size) {
  std::memcpy(&ramgru::runtime.parallel, &parallel, sizeof parallel);
  std::memcpy(&ramgru::runtime.thread_number, &thread_number, sizeof thread_number);
  std::memcpy(&ramgru::runtime.team_size, &team_size, sizeof team_size);
}

RAMGRU_API int ramgru_supports(const char* isa) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (!std::strcmp(isa, "avx512"))
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("fma");
  if (!std::strcmp(isa, "avx2")) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
  return !std::strcmp(isa, "baseline");
}

// Whether working memory is filled with NaN, as in the sanitized build.
RAMGRU_API int ramgru_poisoned() {
#ifdef RAMGRU_POISON
  ramgru::Scratch<float> scratch(1);
  return scratch[0] != scratch[0];
#else
  return 0;
#endif
}
