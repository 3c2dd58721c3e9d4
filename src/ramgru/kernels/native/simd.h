// Vectors of the widest registers of one instruction set, by the compilers' vector extension.
//
// This file is compiled once for each instruction set (RAMGRU_VECTOR_BYTES, RAMGRU_ISA), so all
// names live in a namespace of their own. `real` is the type of the computation, float or double;
// storage may be narrower (bfloat16). Tails are loaded and stored by length, never past the end, by
// masks where the set has them: copying a few bytes and loading them as a vector costs a stall.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>
#if RAMGRU_VECTOR_BYTES >= 32
#include <immintrin.h>
#endif

#define RAMGRU_INLINE inline __attribute__((always_inline))

namespace ramgru {
inline namespace RAMGRU_ISA {

using std::int64_t;

struct bfloat16 {
  std::uint16_t bits;
};

template <class storage>
using real_of = std::conditional_t<std::is_same_v<storage, double>, double, float>;

template <class real>
inline constexpr int64_t lanes = RAMGRU_VECTOR_BYTES / sizeof(real);

template <class real>
struct vector_type;
template <>
struct vector_type<float> {
  typedef float type __attribute__((vector_size(RAMGRU_VECTOR_BYTES)));
  typedef std::int32_t mask __attribute__((vector_size(RAMGRU_VECTOR_BYTES)));
};
template <>
struct vector_type<double> {
  typedef double type __attribute__((vector_size(RAMGRU_VECTOR_BYTES)));
  typedef std::int64_t mask __attribute__((vector_size(RAMGRU_VECTOR_BYTES)));
};

template <class real>
using vec = typename vector_type<real>::type;
template <class real>
using mask = typename vector_type<real>::mask;

template <class real>
RAMGRU_INLINE vec<real> broadcast(real x) {
  return x - vec<real>{};  // not + : -0.0 + 0.0 is 0.0
}

typedef std::uint16_t half_bits __attribute__((vector_size(RAMGRU_VECTOR_BYTES / 2)));
typedef std::uint32_t full_bits __attribute__((vector_size(RAMGRU_VECTOR_BYTES)));

template <class real>
RAMGRU_INLINE vec<real> load(const real* p) {
  vec<real> v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

RAMGRU_INLINE vec<float> load(const bfloat16* p) {
  half_bits h;
  std::memcpy(&h, p, sizeof h);
  return (vec<float>)(__builtin_convertvector(h, full_bits) << 16);
}

template <class real>
RAMGRU_INLINE void store(real* p, vec<real> v) {
  std::memcpy(p, &v, sizeof v);
}

RAMGRU_INLINE void store(bfloat16* p, vec<float> v) {  // to the nearest, ties to even; NaN stays NaN
  full_bits b = (full_bits)v;
  full_bits rounded = b + 0x7fffu + ((b >> 16) & 1u);
  b = v == v ? rounded : (b | 0x400000u);
  half_bits h = __builtin_convertvector(b >> 16, half_bits);
  std::memcpy(p, &h, sizeof h);
}

RAMGRU_INLINE float widen(float x) { return x; }
RAMGRU_INLINE double widen(double x) { return x; }
RAMGRU_INLINE float widen(bfloat16 x) {
  std::uint32_t b = (std::uint32_t)x.bits << 16;
  float f;
  std::memcpy(&f, &b, 4);
  return f;
}

RAMGRU_INLINE void narrow(float* p, float x) { *p = x; }
RAMGRU_INLINE void narrow(double* p, double x) { *p = x; }
RAMGRU_INLINE void narrow(bfloat16* p, float x) {
  std::uint32_t b;
  std::memcpy(&b, &x, 4);
  p->bits = (std::uint16_t)((x == x ? b + 0x7fffu + ((b >> 16) & 1u) : (b | 0x400000u)) >> 16);
}

// The first n < lanes values, then zeros.
template <class storage>
RAMGRU_INLINE vec<real_of<storage>> load(const storage* p, int64_t n) {
  storage full[lanes<real_of<storage>>] = {};
  std::memcpy(full, p, n * sizeof(storage));
  return load(full);
}

template <class storage>
RAMGRU_INLINE void store(storage* p, vec<real_of<storage>> v, int64_t n) {
  storage full[lanes<real_of<storage>>];
  store(full, v);
  std::memcpy(p, full, n * sizeof(storage));
}

#if defined(RAMGRU_POISON)  // the sanitizer sees copies, but no masks
#elif RAMGRU_VECTOR_BYTES == 64
RAMGRU_INLINE std::uint32_t first_lanes(int64_t n) { return (1u << n) - 1; }
// Half a vector without a mask: a later load gets what a masked store wrote only from the cache.
RAMGRU_INLINE vec<float> load(const float* p, int64_t n) {
  if (n == 8) return (vec<float>)_mm512_maskz_broadcast_f32x8(0xff, _mm256_loadu_ps(p));
  return (vec<float>)_mm512_maskz_loadu_ps((__mmask16)first_lanes(n), p);
}
RAMGRU_INLINE vec<double> load(const double* p, int64_t n) {
  return (vec<double>)_mm512_maskz_loadu_pd((__mmask8)first_lanes(n), p);
}
RAMGRU_INLINE void store(float* p, vec<float> v, int64_t n) {
  if (n == 8) return _mm256_storeu_ps(p, _mm512_maskz_extractf32x8_ps(0xff, (__m512)v, 0));
  _mm512_mask_storeu_ps(p, (__mmask16)first_lanes(n), (__m512)v);
}
RAMGRU_INLINE void store(double* p, vec<double> v, int64_t n) {
  _mm512_mask_storeu_pd(p, (__mmask8)first_lanes(n), (__m512d)v);
}
#elif RAMGRU_VECTOR_BYTES == 32
RAMGRU_INLINE vec<float> load(const float* p, int64_t n) {
  return (vec<float>)_mm256_maskload_ps(
      p, (__m256i)(mask<float>{0, 1, 2, 3, 4, 5, 6, 7} < (std::int32_t)n));
}
RAMGRU_INLINE vec<double> load(const double* p, int64_t n) {
  return (vec<double>)_mm256_maskload_pd(p, (__m256i)(mask<double>{0, 1, 2, 3} < n));
}
#endif

template <class V>
RAMGRU_INLINE V square_root(V x) {
  for (std::size_t i = 0; i < sizeof x / sizeof x[0]; ++i) x[i] = std::sqrt(x[i]);
  return x;
}

// e^x within 2 units in the last place, for x in [-87, 88]; clamped outside.
RAMGRU_INLINE vec<float> exp(vec<float> x) {
  using V = vec<float>;
  x = x > 88.0f ? broadcast(88.0f) : x;
  x = x < -87.0f ? broadcast(-87.0f) : x;  // NaN passes through both
  V shifted = x * 1.44269504088896341f + 12582912.0f;  // 1.5 * 2^23: rounds to an integer
  V n = shifted - 12582912.0f;
  V r = x - n * 0.693145751953125f;
  r = r - n * 1.428606765330187045e-06f;
  V p = r * 1.98756915e-4f + 1.39819995e-3f;
  p = p * r + 8.33345186e-3f;
  p = p * r + 4.16657962e-2f;
  p = p * r + 1.66666652e-1f;
  p = p * r + 5.00000001e-1f;
  p = p * r * r + r + 1.0f;
  mask<float> scale = (((mask<float>)shifted - 0x4b400000) + 127) << 23;
  return p * (V)scale;
}

RAMGRU_INLINE vec<double> exp(vec<double> x) {
  double part[lanes<double>];
  store(part, x);
  for (int64_t i = 0; i < lanes<double>; ++i) part[i] = std::exp(part[i]);
  return load(part);
}

// The natural logarithm of normal x > 0 within 2 units in the last place (Cephes, logf).
RAMGRU_INLINE vec<float> log(vec<float> x) {
  using V = vec<float>;
  mask<float> bits = (mask<float>)x, exponent = (bits >> 23) - 126;
  V m = (V)((bits & 0x7fffff) | 0x3f000000);  // in [0.5, 1)
  mask<float> low = m < 0.707106781186547524f;  // then in [0.5 sqrt 2, sqrt 2), less 1
  V e = __builtin_convertvector(exponent + low, V);
  m = (low ? m + m : m) - 1;
  V squared = m * m, p = m * 7.0376836292e-2f - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m - 1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m - 2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  p = p * m * squared - e * 2.12194440e-4f - squared * 0.5f;
  return m + p + e * 0.693359375f;
}

RAMGRU_INLINE vec<double> log(vec<double> x) {
  double part[lanes<double>];
  store(part, x);
  for (int64_t i = 0; i < lanes<double>; ++i) part[i] = std::log(part[i]);
  return load(part);
}

// cos x = -sin(k pi/2) sin(x - k pi/2) for the odd k nearest, so that the rest is at most pi/2.
// Within 1e-6 of the largest value for |x| up to 1,000; larger x lose digits.
RAMGRU_INLINE vec<float> cos(vec<float> x) {
  using V = vec<float>;
  V shifted = x * 0.318309886183790672f - 0.5f + 12582912.0f;  // 1.5 * 2^23: rounds to an integer
  V odd = 2 * (shifted - 12582912.0f) + 1;
  V d = x - odd * 1.5703125f;
  d = d - odd * 4.837512969970703e-4f;
  d = d - odd * 7.549790126404332e-8f;
  V squared = d * d;  // sin d / d, a least-squares fit of equal ripple on [0, pi/2]
  V p = squared * 2.60562393e-6f - 1.98096573e-4f;
  p = p * squared + 8.33306956e-3f;
  p = p * squared - 1.66666598e-1f;
  V sine = d + d * squared * p;
  mask<float> flip = ((mask<float>)shifted & 1) != 0;  // k = 2 n + 1: the sign goes with n
  return flip ? sine : -sine;
}

RAMGRU_INLINE vec<double> cos(vec<double> x) {
  double part[lanes<double>];
  store(part, x);
  for (int64_t i = 0; i < lanes<double>; ++i) part[i] = std::cos(part[i]);
  return load(part);
}

template <class V>
RAMGRU_INLINE V sigmoid(V x) {
  return 1 / (1 + exp(-x));
}

RAMGRU_INLINE vec<float> tanh(vec<float> x) {
  using V = vec<float>;
  V squared = x * x;  // near 0 an odd polynomial, because 1 - e^-2x loses digits there
  V p = squared * -5.70498872745e-3f + 2.06390887954e-2f;
  p = p * squared - 5.37397155531e-2f;
  p = p * squared + 1.33314422036e-1f;
  p = p * squared - 3.33332819422e-1f;
  V near = x + x * squared * p;
  V size = x < 0 ? -x : x;
  V far = 1 - 2 / (exp(2 * size) + 1);
  far = x < 0 ? -far : far;
  return size < 0.625f ? near : far;  // NaN: `far`, which is NaN
}

RAMGRU_INLINE vec<double> tanh(vec<double> x) {
  double part[lanes<double>];
  store(part, x);
  for (int64_t i = 0; i < lanes<double>; ++i) part[i] = std::tanh(part[i]);
  return load(part);
}

// Prefetch values at addresses that the hardware cannot predict; with `writes`, to overwrite them:
// stores reach the cache one after the other, so that one that waits for its line holds up all.
template <bool writes = false, class T>
RAMGRU_INLINE void prefetch(const T* values, int64_t size) {
  for (int64_t i = 0; i < size; i += 64 / (int64_t)sizeof(T)) __builtin_prefetch(values + i, writes);
}

// Forces the values at p to be read back as stored, so that no product is fused with a later sum.
RAMGRU_INLINE void keep_rounded(const void* p) { asm volatile("" : : "r"(p) : "memory"); }

template <class real, int by, int... lane>
RAMGRU_INLINE vec<real> rotated(vec<real> v, std::integer_sequence<int, lane...>) {
  constexpr int n = lanes<real>;
#if defined(__clang__)
  return __builtin_shufflevector(v, v, ((lane + by) % n)...);
#else
  return __builtin_shuffle(v, mask<real>{(lane + by) % n...});
#endif
}

// The vector that begins one lane before b, with the last lane of a.
template <class real, int... lane>
RAMGRU_INLINE vec<real> behind(vec<real> a, vec<real> b, std::integer_sequence<int, lane...>) {
  constexpr int n = lanes<real>;
#if defined(__clang__)
  return __builtin_shufflevector(a, b, (n - 1 + lane)...);
#else
  return __builtin_shuffle(a, b, mask<real>{(n - 1 + lane)...});
#endif
}

// Bit i: whether lane i of a mask is set.
template <class real>
RAMGRU_INLINE std::uint32_t bits_of(mask<real> m) {
#if RAMGRU_VECTOR_BYTES == 64
  if constexpr (sizeof(real) == 4) return _mm512_movepi32_mask((__m512i)m);
  else return _mm512_movepi64_mask((__m512i)m);
#elif RAMGRU_VECTOR_BYTES == 32
  if constexpr (sizeof(real) == 4) return (std::uint32_t)_mm256_movemask_ps((__m256)m);
  else return (std::uint32_t)_mm256_movemask_pd((__m256d)m);
#else
  std::uint32_t bits = 0;
  for (int i = 0; i < (int)lanes<real>; ++i) bits |= (std::uint32_t)(m[i] & 1) << i;
  return bits;
#endif
}

template <class real, int half = lanes<real> / 2>
RAMGRU_INLINE real sum(vec<real> v) {  // pairwise, in a fixed order
  if constexpr (half == 0)
    return v[0];
  else
    return sum<real, half / 2>(
        v + rotated<real, half>(v, std::make_integer_sequence<int, lanes<real>>{}));
}

template <class real, int half = lanes<real> / 2>
RAMGRU_INLINE real largest(vec<real> v) {
  if constexpr (half == 0) {
    return v[0];
  } else {
    vec<real> other = rotated<real, half>(v, std::make_integer_sequence<int, lanes<real>>{});
    return largest<real, half / 2>(other > v ? other : v);
  }
}

// Exchanges the upper `half` of every 2 half lanes of a with the lower of b.
template <class real, int half, int... lane>
RAMGRU_INLINE void exchange(vec<real>& a, vec<real>& b, std::integer_sequence<int, lane...>) {
  constexpr int n = lanes<real>;
#if defined(__clang__)
  vec<real> lower = __builtin_shufflevector(a, b, (lane & half ? n + lane - half : lane)...);
  b = __builtin_shufflevector(a, b, (lane & half ? n + lane : lane + half)...);
#else
  vec<real> lower = __builtin_shuffle(a, b, mask<real>{(lane & half ? n + lane - half : lane)...});
  b = __builtin_shuffle(a, b, mask<real>{(lane & half ? n + lane : lane + half)...});
#endif
  a = lower;
}

template <class real, int by, int... lane>
RAMGRU_INLINE vec<real> swapped(vec<real> v, std::integer_sequence<int, lane...>) {
#if defined(__clang__)
  return __builtin_shufflevector(v, v, (lane ^ by)...);
#else
  return __builtin_shuffle(v, mask<real>{(lane ^ by)...});
#endif
}

// Lane i of every `apart`-th lane.
template <class real, int apart, int... lane>
RAMGRU_INLINE vec<real> gathered(vec<real> v, std::integer_sequence<int, lane...>) {
  constexpr int n = lanes<real>;
#if defined(__clang__)
  return __builtin_shufflevector(v, v, (lane * apart % n)...);
#else
  return __builtin_shuffle(v, mask<real>{(lane * apart % n)...});
#endif
}

// The sums of `rows` vectors, a power of two, each in lanes / rows neighbouring lanes.
template <class real, int rows, int half = lanes<real> / 2>
RAMGRU_INLINE vec<real> sums_spread(vec<real>* v) {
  using Lanes = std::make_integer_sequence<int, lanes<real>>;
  if constexpr (half == 0) {
    return v[0];
  } else if constexpr (rows == 1) {
    v[0] += swapped<real, half>(v[0], Lanes{});
    return sums_spread<real, 1, half / 2>(v);
  } else {
#pragma GCC unroll 8
    for (int i = 0; i < rows / 2; ++i) {
      exchange<real, half>(v[i], v[i + rows / 2], Lanes{});
      v[i] += v[i + rows / 2];
    }
    return sums_spread<real, rows / 2, half / 2>(v);
  }
}

// Lane i: the sum of v[i] for the first n vectors of lanes<real>, anything behind. Overwrites v.
template <class real, int rows = 1>
RAMGRU_INLINE vec<real> sums_of(vec<real>* v, int64_t n) {
  if constexpr (rows < lanes<real>)
    if (n > rows) return sums_of<real, 2 * rows>(v, n);
#pragma GCC unroll 8
  for (int i = rows / 2; i < rows; ++i) v[i] = i < n ? v[i] : vec<real>{};  // n > rows / 2
  return gathered<real, lanes<real> / rows>(
      sums_spread<real, rows>(v), std::make_integer_sequence<int, lanes<real>>{});
}

// The first n lanes of v, then `rest`.
template <class V, class real = std::decay_t<decltype(V{}[0])>>
RAMGRU_INLINE V first_of(V v, int64_t n, real rest = 0) {
  mask<real> lane;
  for (int i = 0; i < (int)lanes<real>; ++i) lane[i] = i;
  return lane < (std::decay_t<decltype(lane[0])>)n ? v : broadcast(rest);
}

// Lane j of row i <-> lane i of row j.
template <class real, int half = lanes<real> / 2>
RAMGRU_INLINE void transpose(vec<real> (&rows)[lanes<real>]) {
  if constexpr (half > 0) {
#pragma GCC unroll 16
    for (int64_t i = 0; i < lanes<real>; ++i)
      if ((i & half) == 0)
        exchange<real, half>(rows[i], rows[i + half],
                             std::make_integer_sequence<int, lanes<real>>{});
    transpose<real, half / 2>(rows);
  }
}

// f(i, n) for i = 0, lanes, 2 lanes, ... with n = lanes, and once with n < lanes for the tail.
template <class real, class F>
RAMGRU_INLINE void each_vector(int64_t size, F&& f) {
  int64_t i = 0;
  for (; i + lanes<real> <= size; i += lanes<real>) f(i, std::integral_constant<int64_t, lanes<real>>{});
  if (i < size) f(i, size - i);
}

// Loads and stores for the n of `each_vector`: a whole vector if n is a constant, else by length.
template <class storage, class N>
RAMGRU_INLINE vec<real_of<storage>> load_n(const storage* p, N n) {
  if constexpr (std::is_same_v<N, int64_t>)
    return load(p, n);
  else
    return load(p);
}
template <class storage, class N>
RAMGRU_INLINE void store_n(storage* p, vec<real_of<storage>> v, N n) {
  if constexpr (std::is_same_v<N, int64_t>)
    store(p, v, n);
  else
    store(p, v);
}

}  // namespace RAMGRU_ISA
}  // namespace ramgru
