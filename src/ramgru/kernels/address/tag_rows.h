// Candidates with the tags of their keys behind them, and the tags that reads compare: copies.
// The heads with a key come in two groups, a and b, and before the heads without one.
#pragma once

#include <algorithm>

#include "../native/parallel.h"

namespace ramgru {

struct TagRowsForward {
  std::int64_t bytes, threads;
  std::int64_t steps, G, D, A, N, heads_a, heads_b;  // A of the N numbers of a key are its tag
  const void* candidate;                             // (steps, G, D)
  const void* key_a;                                 // (steps, heads_a, N) or null: zeros
  const void* key_b;                                 // (steps, heads_b, N)
  const void* query_a;
  const void* query_b;
  void* rows;   // (steps, G, D + A)
  void* query;  // (steps, G, A)
};

struct TagRowsBackward {
  std::int64_t bytes, threads;
  std::int64_t steps, G, D, A, N, heads_a, heads_b;
  const void* grad_rows;  // or null: zeros
  const void* grad_query;
  void* grad_candidate;  // or null, where nobody asks for it
  void* grad_key_a;
  void* grad_key_b;
  void* grad_query_a;
  void* grad_query_b;
};

inline namespace RAMGRU_ISA {

// to (number) = from, with zeros behind its `given` numbers; a null `from` stands for zeros
template <class storage>
void copy_padded(const storage* from, int64_t given, storage* to, int64_t number) {
  if (from == nullptr) given = 0;
  std::copy_n(from, given, to);
  std::fill_n(to + given, number - given, storage{});
}

// f(step) for each step
template <class F>
void tag_rows_steps(int64_t threads, int64_t steps, F&& f) {
  constexpr int64_t group = 64;
  parallel(threads, (steps + group - 1) / group, [&](Work& work) {
    for (int64_t item; work.next(item);)
      for (int64_t step = item * group; step < std::min(steps, (item + 1) * group); ++step) f(step);
  });
}

template <class storage>
void tag_rows_forward(const TagRowsForward& a) {
  auto candidate = static_cast<const storage*>(a.candidate);
  auto rows = static_cast<storage*>(a.rows), query = static_cast<storage*>(a.query);
  // The key of head g, or null.
  auto of = [&](const void* in_a, const void* in_b, int64_t step, int64_t g) -> const storage* {
    const void* keys = g < a.heads_a ? in_a : in_b;
    int64_t first = g < a.heads_a ? 0 : a.heads_a, heads = g < a.heads_a ? a.heads_a : a.heads_b;
    if (keys == nullptr || g - first >= heads) return nullptr;
    return static_cast<const storage*>(keys) + (step * heads + g - first) * a.N;
  };
  tag_rows_steps(a.threads, a.steps, [&](int64_t step) {
    for (int64_t g = 0, at = step * a.G; g < a.G; ++g, ++at) {
      storage* row = rows + at * (a.D + a.A);
      std::copy_n(candidate + at * a.D, a.D, row);
      copy_padded(of(a.key_a, a.key_b, step, g), a.A, row + a.D, a.A);
      copy_padded(of(a.query_a, a.query_b, step, g), a.A, query + at * a.A, a.A);
    }
  });
}

template <class storage>
void tag_rows_backward(const TagRowsBackward& a) {
  auto grad_rows = static_cast<const storage*>(a.grad_rows);
  auto grad_query = static_cast<const storage*>(a.grad_query);
  auto grad_candidate = static_cast<storage*>(a.grad_candidate);
  // The tags of the heads from `first` on, each `stride` numbers after the other.
  auto put = [&](const storage* tags, int64_t stride, int64_t step, int64_t first, int64_t heads,
                 void* grad) {
    if (grad == nullptr) return;
    for (int64_t h = 0; h < heads; ++h)
      copy_padded(tags ? tags + (step * a.G + first + h) * stride : nullptr, a.A,
                  static_cast<storage*>(grad) + (step * heads + h) * a.N, a.N);
  };
  const storage* grad_tags = grad_rows ? grad_rows + a.D : nullptr;
  tag_rows_steps(a.threads, a.steps, [&](int64_t step) {
    for (int64_t at = step * a.G; grad_candidate && at < (step + 1) * a.G; ++at)
      copy_padded(grad_rows ? grad_rows + at * (a.D + a.A) : nullptr, a.D,
                  grad_candidate + at * a.D, a.D);
    put(grad_tags, a.D + a.A, step, 0, a.heads_a, a.grad_key_a);
    put(grad_tags, a.D + a.A, step, a.heads_a, a.heads_b, a.grad_key_b);
    put(grad_query, a.A, step, 0, a.heads_a, a.grad_query_a);
    put(grad_query, a.A, step, a.heads_a, a.heads_b, a.grad_query_b);
  });
}

}  // namespace RAMGRU_ISA
}  // namespace ramgru
