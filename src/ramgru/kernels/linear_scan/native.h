// h[t] = decay[t] h[t-1] + update[t], from the first step to the last or from the last to the first.
// An item is one sequence and a slice of its channels, which walks time by itself.
#pragma once

#include "../native/parallel.h"
#include "../native/simd.h"

namespace ramgru {

struct LinearScan {
  std::int64_t bytes, threads;
  std::int64_t B, T, H, reverse;
  const void* decay;    // (B, T, H)
  const void* update;   // (B, T, H)
  const void* initial;  // (B, H), h before the step that comes first
  void* states;         // (B, T, H)
};

inline namespace RAMGRU_ISA {

constexpr int64_t scan_slice = 64;  // channels of an item: whole cache lines, whatever the threads

// For a vector or a single channel, rounded alike. Where a is 0, h is left out also if it is not
// finite.
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
  int64_t slices = (a.H + scan_slice - 1) / scan_slice;
  parallel(a.threads, a.B * slices, [&](Work& work) {
    for (int64_t item; work.next(item);) {
      int64_t b = item / slices, first = item % slices * scan_slice;
      int64_t size = a.H - first < scan_slice ? a.H - first : scan_slice;
      alignas(64) real h[scan_slice];
      std::memcpy(h, initial + b * a.H + first, size * sizeof(real));
      for (int64_t step = 0; step < a.T; ++step) {
        int64_t t = a.reverse ? a.T - 1 - step : step, row = (b * a.T + t) * a.H + first, i = 0;
        for (; i + lanes<real> <= size; i += lanes<real>) {
          vec<real> now = scan_step(load(decay + row + i), load(h + i), load(update + row + i));
          store(h + i, now);
          store(states + row + i, now);
        }
        for (; i < size; ++i)  // one by one: a few channels are all that many callers have
          states[row + i] = h[i] = scan_step(decay[row + i], h[i], update[row + i]);
      }
    }
  });
}

}  // namespace RAMGRU_ISA
}  // namespace ramgru
