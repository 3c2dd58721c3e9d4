// Recurrences that are elementwise over units:
//
//   linear_scan   h[t] = decay[t] h[t-1] + update[t], forwards or backwards over time
//   mingru        h[t] = (1 - z[t]) h[t-1] + z[t] n[t], z = sigmoid of the projected input's first half
//
// A work item is one sequence and a slice of its units, for all time steps.
#pragma once

#include "../native/parallel.h"
#include "../native/simd.h"

namespace ramgru {

struct LinearScan {
  std::int64_t bytes, threads;
  std::int64_t B, T, H, reverse;
  const void* decay;             // (B, T, H)
  const void* update;            // (B, T, H)
  const void* initial;           // (B, H), h before the step that comes first
  void* states;                  // (B, T, H)
};

struct MingruForward {
  std::int64_t bytes, threads;
  std::int64_t B, T, H;
  const void* projected;         // (B, T, 2 H): gates before their sigmoid, then candidates
  const void* initial;           // (B, H), in the dtype of the computation
  const bool* reset;             // (B, T) or null
  const std::int64_t* lengths;   // (B,) or null
  void* states;                  // (B, T, H), in the dtype of the computation; 0 in the padding
  void* last;                    // (B, H)
};

struct MingruBackward {
  std::int64_t bytes, threads;
  std::int64_t B, T, H;
  const void* projected;
  const void* initial;
  const bool* reset;
  const std::int64_t* lengths;
  const void* states;            // of the forward pass
  const void* grad_states;       // (B, T, H)
  const void* grad_last;         // (B, H) or null
  void* grad_projected;          // (B, T, 2 H); 0 in the padding
  void* grad_initial;            // (B, H)
};

inline namespace RAMGRU_ISA {

constexpr int64_t scan_slice = 64;  // units of an item: whole cache lines, for any number of threads

// f(b, first unit, units) for each slice of units of each sequence
template <class F>
void scan_items(int64_t threads, int64_t B, int64_t H, F&& f) {
  int64_t slices = (H + scan_slice - 1) / scan_slice;
  parallel(threads, B * slices, [&](Work& work) {
    for (int64_t item; work.next(item);) {
      int64_t b = item / slices, first = item % slices * scan_slice;
      int64_t size = H - first < scan_slice ? H - first : scan_slice;
      if (size == scan_slice)
        f(b, first, std::integral_constant<int64_t, scan_slice>{});
      else
        f(b, first, size);
    }
  });
}

// One step for a vector or a single unit, with the same rounding. A decay of 0 also drops a state
// that is not finite.
template <class V>
RAMGRU_INLINE V scan_step(V a, V h, V u) {
  return a * (a == 0 ? V{} : h) + u;
}

template <class real>
void linear_scan(const LinearScan& a) {
  auto decay = static_cast<const real*>(a.decay);
  auto update = static_cast<const real*>(a.update);
  auto initial = static_cast<const real*>(a.initial);
  auto states = static_cast<real*>(a.states);
  scan_items(a.threads, a.B, a.H, [&](int64_t b, int64_t first, auto size) {
    alignas(64) real h[scan_slice];
    std::memcpy(h, initial + b * a.H + first, size * sizeof(real));
    for (int64_t step = 0; step < a.T; ++step) {
      int64_t t = a.reverse ? a.T - 1 - step : step, row = (b * a.T + t) * a.H + first, i = 0;
      for (; i + lanes<real> <= size; i += lanes<real>) {
        vec<real> now = scan_step(load(decay + row + i), load(h + i), load(update + row + i));
        store(h + i, now);
        store(states + row + i, now);
      }
      for (; i < size; ++i)  // one by one: many callers have a few units only
        states[row + i] = h[i] = scan_step(decay[row + i], h[i], update[row + i]);
    }
  });
}

template <class storage>
void mingru_forward(const MingruForward& a) {
  using real = real_of<storage>;
  using V = vec<real>;
  auto projected = static_cast<const storage*>(a.projected);
  auto initial = static_cast<const real*>(a.initial);
  auto states = static_cast<real*>(a.states);
  auto last = static_cast<real*>(a.last);
  scan_items(a.threads, a.B, a.H, [&](int64_t b, int64_t first, auto size) {
    int64_t length = a.lengths ? a.lengths[b] : a.T;
    alignas(64) real held[scan_slice];
    std::memcpy(held, initial + b * a.H + first, size * sizeof(real));
    for (int64_t t = 0; t < length; ++t) {
      const storage* row = projected + (b * a.T + t) * 2 * a.H + first;
      real* out = states + (b * a.T + t) * a.H + first;
      if (a.reset && a.reset[b * a.T + t]) std::memset(held, 0, size * sizeof(real));
      each_vector<real>(size, [&](int64_t i, auto n) {
        V z = sigmoid(load_n(row + i, n)), c = load_n(row + a.H + i, n), h = load_n(held + i, n);
        h = (1 - z) * h + z * c;
        store_n(held + i, h, n);
        store_n(out + i, h, n);
      });
    }
    std::memcpy(last + b * a.H + first, held, size * sizeof(real));
    for (int64_t t = length; t < a.T; ++t)
      std::memset(states + (b * a.T + t) * a.H + first, 0, size * sizeof(real));
  });
}

template <class storage>
void mingru_backward(const MingruBackward& a) {
  using real = real_of<storage>;
  using V = vec<real>;
  auto projected = static_cast<const storage*>(a.projected);
  auto initial = static_cast<const real*>(a.initial);
  auto states = static_cast<const real*>(a.states);
  auto grad_states = static_cast<const real*>(a.grad_states);
  auto grad_last = static_cast<const real*>(a.grad_last);
  auto grad_projected = static_cast<storage*>(a.grad_projected);
  auto grad_initial = static_cast<real*>(a.grad_initial);
  scan_items(a.threads, a.B, a.H, [&](int64_t b, int64_t first, auto size) {
    int64_t length = a.lengths ? a.lengths[b] : a.T;
    alignas(64) real grad[scan_slice], zero[scan_slice] = {};
    if (grad_last)
      std::memcpy(grad, grad_last + b * a.H + first, size * sizeof(real));
    else
      std::memset(grad, 0, sizeof grad);
    for (int64_t t = a.T; t-- > length;) {
      storage* out = grad_projected + (b * a.T + t) * 2 * a.H + first;
      std::memset(out, 0, size * sizeof(storage));
      std::memset(out + a.H, 0, size * sizeof(storage));
    }
    for (int64_t t = length; t-- > 0;) {
      int64_t step = b * a.T + t;
      bool anew = a.reset && a.reset[step];
      const storage* row = projected + step * 2 * a.H + first;
      const real* before = anew    ? zero
                           : t > 0 ? states + (step - 1) * a.H + first
                                   : initial + b * a.H + first;
      const real* from_above = grad_states + step * a.H + first;
      storage* out = grad_projected + step * 2 * a.H + first;
      each_vector<real>(size, [&](int64_t i, auto n) {
        V z = sigmoid(load_n(row + i, n)), c = load_n(row + a.H + i, n);
        V g = load_n(grad + i, n) + load_n(from_above + i, n);
        store_n(out + i, g * (c - load_n(before + i, n)) * z * (1 - z), n);
        store_n(out + a.H + i, g * z, n);
        store_n(grad + i, anew ? V{} : g * (1 - z), n);
      });
    }
    std::memcpy(grad_initial + b * a.H + first, grad, size * sizeof(real));
  });
}

}  // namespace RAMGRU_ISA
}  // namespace ramgru
