// out = h + sigmoid(gate) added, elementwise, (B, T, C). A work item is a group of rows. h and out may
// be strided: with time first, or as half of a bidirectional output.
#pragma once

#include <algorithm>

#include "../native/parallel.h"
#include "../native/simd.h"

namespace ramgru {

struct GatedSumForward {
  std::int64_t bytes, threads;
  std::int64_t B, T, C, wide;  // wide: h and out are stored in the dtype of the computation
  std::int64_t out_b, out_t, h_b, h_t;  // strides
  const void* gate;
  const void* added;
  const void* h;
  void* out;
};

struct GatedSumBackward {
  std::int64_t bytes, threads;
  std::int64_t B, T, C, wide;
  std::int64_t out_b, out_t;
  const void* gate;
  const void* added;
  void* grad_gate;
  void* grad_added;
  const void* grad_out;
};

inline namespace RAMGRU_ISA {

// f(b, t, first) for each row, which starts at number `first` of a contiguous tensor
template <class Arguments, class F>
void gated_sum_rows(const Arguments& a, F&& f) {
  int64_t rows = a.B * a.T, group = std::max<int64_t>(1, (1 << 14) / std::max<int64_t>(a.C, 1));
  parallel(a.threads, (rows + group - 1) / group, [&](Work& work) {
    for (int64_t item; work.next(item);)
      for (int64_t row = item * group; row < std::min(rows, (item + 1) * group); ++row)
        f(row / a.T, row % a.T, row * a.C);
  });
}

template <class storage, class outer>
void gated_sum(const GatedSumForward& a) {
  using real = real_of<storage>;
  gated_sum_rows(a, [&](int64_t b, int64_t t, int64_t first) {
    auto h = static_cast<const outer*>(a.h) + b * a.h_b + t * a.h_t;
    auto out = static_cast<outer*>(a.out) + b * a.out_b + t * a.out_t;
    auto gate = static_cast<const storage*>(a.gate) + first;
    auto added = static_cast<const storage*>(a.added) + first;
    each_vector<real>(a.C, [&](int64_t i, auto n) {
      store_n(out + i, load_n(h + i, n) + sigmoid(load_n(gate + i, n)) * load_n(added + i, n), n);
    });
  });
}

template <class storage, class outer>
void gated_sum(const GatedSumBackward& a) {
  using real = real_of<storage>;
  using V = vec<real>;
  gated_sum_rows(a, [&](int64_t b, int64_t t, int64_t first) {
    auto grad_out = static_cast<const outer*>(a.grad_out) + b * a.out_b + t * a.out_t;
    auto gate = static_cast<const storage*>(a.gate) + first;
    auto added = static_cast<const storage*>(a.added) + first;
    auto grad_gate = static_cast<storage*>(a.grad_gate) + first;
    auto grad_added = static_cast<storage*>(a.grad_added) + first;
    each_vector<real>(a.C, [&](int64_t i, auto n) {
      V s = sigmoid(load_n(gate + i, n)), through = load_n(grad_out + i, n) * s;
      store_n(grad_added + i, through, n);
      store_n(grad_gate + i, through * load_n(added + i, n) * (1 - s), n);
    });
  });
}

template <class storage>
void gated_sum_forward(const GatedSumForward& a) {
  a.wide ? gated_sum<storage, real_of<storage>>(a) : gated_sum<storage, storage>(a);
}

template <class storage>
void gated_sum_backward(const GatedSumBackward& a) {
  a.wide ? gated_sum<storage, real_of<storage>>(a) : gated_sum<storage, storage>(a);
}

}  // namespace RAMGRU_ISA
}  // namespace ramgru
