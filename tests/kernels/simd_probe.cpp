// Functions of simd.h over arrays, for test_native_simd.py.
#include "simd.h"

using namespace ramgru;

template <class storage, class F>
static void map(const storage* x, storage* y, int64_t size, F&& f) {
  each_vector<real_of<storage>>(size, [&](int64_t i, auto n) {
    store_n(y + i, f(load_n(x + i, n)), n);
  });
}

#define PROBE(type, name) \
  extern "C" void name##_##type(const type* x, type* y, int64_t n) { \
    map(x, y, n, [](vec<real_of<type>> v) { return ramgru::name(v); }); \
  }
PROBE(float, exp)
PROBE(float, sigmoid)
PROBE(float, tanh)
PROBE(float, cos)
PROBE(float, log)
PROBE(double, exp)
PROBE(double, sigmoid)
PROBE(double, tanh)
PROBE(double, cos)
PROBE(double, log)

extern "C" void narrow_vectors(const float* x, bfloat16* y, int64_t size) {
  each_vector<float>(size, [&](int64_t i, auto n) { store_n(y + i, load_n(x + i, n), n); });
}
extern "C" void narrow_scalars(const float* x, bfloat16* y, int64_t size) {
  for (int64_t i = 0; i < size; ++i) narrow(y + i, x[i]);
}
extern "C" void widen_vectors(const bfloat16* x, float* y, int64_t size) {
  each_vector<float>(size, [&](int64_t i, auto n) { store_n(y + i, load_n(x + i, n), n); });
}
extern "C" void widen_scalars(const bfloat16* x, float* y, int64_t size) {
  for (int64_t i = 0; i < size; ++i) y[i] = widen(x[i]);
}
