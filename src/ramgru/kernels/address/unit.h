// Keys brought to one length: unit = key sqrt(A / sum of squares); a zero key stays zero.
#pragma once

#include <algorithm>

#include "../native/parallel.h"
#include "../native/scratch.h"
#include "../native/simd.h"

namespace ramgru {

struct UnitForward {
  std::int64_t bytes, threads;
  std::int64_t rows, A;
  const void* key;  // (rows, A)
  void* unit;       // (rows, A)
  void* scale;      // (rows,) unit / key, or 0 for a zero key
};

struct UnitBackward {
  std::int64_t bytes, threads;
  std::int64_t rows, A;
  const void* unit;
  const void* scale;
  const void* grad_unit;
  void* grad_key;
};

inline namespace RAMGRU_ISA {

// The key of each lane, number a at key + a * step; returns unit / key, or 0 for a zero key.
// Keys are divided by their largest number first: squares then neither overflow nor vanish.
template <class real>
RAMGRU_INLINE vec<real> make_unit(real* key, int64_t A, int64_t step) {
  using V = vec<real>;
  V largest{}, squares{}, one = broadcast(real(1));
  for (int64_t a = 0; a < A; ++a) {
    V x = load(key + a * step);
    x = x < 0 ? -x : x;
    largest = x > largest ? x : largest;
  }
  V divisor = largest > 0 ? largest : one;
  for (int64_t a = 0; a < A; ++a) {
    V x = load(key + a * step) / divisor;
    store(key + a * step, x);
    squares += x * x;
  }
  alignas(64) real root[lanes<real>];
  store(root, largest > 0 ? squares / real(A) : one);
  for (real& x : root) x = 1 / std::sqrt(x);
  V scale = load(root);
  for (int64_t a = 0; a < A; ++a) store(key + a * step, load(key + a * step) * scale);
  return largest > 0 ? scale / divisor : V{};
}

constexpr int64_t unit_rows = 512;  // rows of a work item, a multiple of all lanes

template <class real>
void unit_forward(const UnitForward& a) {
  auto key = static_cast<const real*>(a.key);
  auto unit = static_cast<real*>(a.unit), scale = static_cast<real*>(a.scale);
  constexpr int64_t L = lanes<real>;
  parallel(a.threads, (a.rows + unit_rows - 1) / unit_rows, [&](Work& work) {
    Scratch<real> turned((a.A + L - 1) / L * L * L);  // (A, lanes), a row in each lane
    for (int64_t item; work.next(item);) {
      int64_t end = std::min(a.rows, (item + 1) * unit_rows);
      for (int64_t row = item * unit_rows; row < end; row += L) {
        int64_t count = std::min(L, end - row);
        vec<real> block[L];
        each_vector<real>(a.A, [&](int64_t i, auto n) {
          for (int64_t r = 0; r < L; ++r)
            block[r] = r < count ? load_n(key + (row + r) * a.A + i, n) : vec<real>{};
          transpose<real>(block);
          for (int64_t r = 0; r < L; ++r) store(turned.get() + (i + r) * L, block[r]);
        });
        store(scale + row, make_unit(turned.get(), a.A, L), count);
        each_vector<real>(a.A, [&](int64_t i, auto n) {
          for (int64_t r = 0; r < L; ++r) block[r] = load(turned.get() + (i + r) * L);
          transpose<real>(block);
          for (int64_t r = 0; r < count; ++r) store_n(unit + (row + r) * a.A + i, block[r], n);
        });
      }
    }
  });
}

template <class real>
void unit_backward(const UnitBackward& a) {
  auto unit = static_cast<const real*>(a.unit), scale = static_cast<const real*>(a.scale);
  auto above = static_cast<const real*>(a.grad_unit);
  auto grad_key = static_cast<real*>(a.grad_key);
  parallel(a.threads, (a.rows + unit_rows - 1) / unit_rows, [&](Work& work) {
    for (int64_t item; work.next(item);) {
      int64_t end = std::min(a.rows, (item + 1) * unit_rows);
      for (int64_t row = item * unit_rows; row < end; ++row) {
        const real *u = unit + row * a.A, *g = above + row * a.A;
        vec<real> products{};
        each_vector<real>(a.A, [&](int64_t i, auto n) {
          products += load_n(u + i, n) * load_n(g + i, n);
        });
        real along = sum<real>(products) / real(a.A);  // the length has no gradient
        each_vector<real>(a.A, [&](int64_t i, auto n) {
          vec<real> across = load_n(g + i, n) - along * load_n(u + i, n);
          store_n(grad_key + row * a.A + i, across * scale[row], n);
        });
      }
    }
  });
}

}  // namespace RAMGRU_ISA
}  // namespace ramgru
