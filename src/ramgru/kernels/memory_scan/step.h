// One step of one head: write K rows, read J rows, by the equations of `reference.py`.
//
// Functions map the number of an access to a pointer to its row, null for no access, so that a
// table in place and a table of versions run the same code.
#pragma once

#include <algorithm>

#include "../native/parallel.h"
#include "../native/simd.h"
#include "tag.h"

namespace ramgru {
inline namespace RAMGRU_ISA {

// Several vectors in registers.
template <class real, int64_t V>
struct Block {
  vec<real> v[V];
};

#define RAMGRU_BLOCK_OPERATOR(op)                                                        \
  template <class real, int64_t V>                                                       \
  RAMGRU_INLINE Block<real, V> operator op(const Block<real, V>& a, const Block<real, V>& b) { \
    Block<real, V> c;                                                                    \
    for (int64_t i = 0; i < V; ++i) c.v[i] = a.v[i] op b.v[i];                           \
    return c;                                                                            \
  }
RAMGRU_BLOCK_OPERATOR(+)
RAMGRU_BLOCK_OPERATOR(-)
#undef RAMGRU_BLOCK_OPERATOR

template <class real, int64_t V>
RAMGRU_INLINE Block<real, V> operator*(real s, const Block<real, V>& a) {
  Block<real, V> c;
  for (int64_t i = 0; i < V; ++i) c.v[i] = s * a.v[i];
  return c;
}

template <class real, int64_t V>
RAMGRU_INLINE vec<real> dot(const Block<real, V>& a, const Block<real, V>& b) {
  vec<real> s = a.v[0] * b.v[0];
  for (int64_t i = 1; i < V; ++i) s += a.v[i] * b.v[i];
  return s;
}

// The length of a block: a constant number of whole vectors, or a tail shorter than one.
template <int64_t n>
using whole = std::integral_constant<int64_t, n>;
template <class real, class N>
inline constexpr int64_t vectors_of = N::value / lanes<real>;
template <class real>
inline constexpr int64_t vectors_of<real, int64_t> = 1;

// f(i, n) for the blocks of `size` values: of 4, 2 and 1 vectors, and a tail.
template <class real, class F>
RAMGRU_INLINE void each_block(int64_t size, F&& f) {
  constexpr int64_t W = lanes<real>;
  int64_t i = 0;
  for (; i + 4 * W <= size; i += 4 * W) f(i, whole<4 * W>{});
  if (i + 2 * W <= size) f(i, whole<2 * W>{}), i += 2 * W;
  if (i + W <= size) f(i, whole<W>{}), i += W;
  if (i < size) f(i, size - i);
}

template <class storage, class N, class real = real_of<storage>>
RAMGRU_INLINE Block<real, vectors_of<real, N>> load_block(const storage* p, N n) {
  Block<real, vectors_of<real, N>> x;
  if constexpr (std::is_same_v<N, int64_t>)
    x.v[0] = load(p, n);
  else
    for (int64_t i = 0; i < vectors_of<real, N>; ++i) x.v[i] = load(p + i * lanes<real>);
  return x;
}

template <class storage, class N, class real = real_of<storage>>
RAMGRU_INLINE void store_block(storage* p, const Block<real, vectors_of<real, N>>& x, N n) {
  if constexpr (std::is_same_v<N, int64_t>)
    store(p, x.v[0], n);
  else
    for (int64_t i = 0; i < vectors_of<real, N>; ++i) store(p + i * lanes<real>, x.v[i]);
}

// Write K rows of `size` values, one after the other: M[i_k] = (1 - g) M[i_k] + g c. from(k) is the
// row that write k finds, to(k) is its new row; in place, both are the same. With gate 0 a row
// keeps its bits, even the sign of a zero.
template <class real, class storage, class From, class To>
RAMGRU_INLINE void memory_write(
    int64_t K, const real* weight, real gate, const storage* candidate, int64_t size,
    From&& from, To&& to) {
  each_block<real>(size, [&](int64_t i, auto n) {
    auto c = load_block(candidate + i, n);
    for (int64_t k = 0; k < K; ++k) {
      const real* row = from(k);
      if (!row) continue;
      real g = gate * weight[k];
      auto old = load_block(row + i, n);
      store_block(to(k) + i, g == 0 ? old : g == 1 ? c : (1 - g) * old + g * c, n);
    }
  });
}

// The tags of rows: row(e) behind its `values` first numbers, null for no access.
template <class Row>
RAMGRU_INLINE auto tag_of(int64_t values, Row&& row) {
  return [values, &row](int64_t e) {
    auto found = row(e);
    return found ? found + values : nullptr;
  };
}

// output = sum_j weight[j] row(j)
template <class real, class storage, class Row>
RAMGRU_INLINE void memory_read(
    int64_t J, const real* weight, storage* output, int64_t size, Row&& row) {
  each_block<real>(size, [&](int64_t i, auto n) {
    Block<real, vectors_of<real, decltype(n)>> y{};
    for (int64_t j = 0; j < J; ++j)
      if (const real* p = row(j)) y = y + weight[j] * load_block(p + i, n);
    store_block(output + i, y, n);
  });
}

// dots[j] = output . row(j), in whole vectors with zeros behind.
template <class real, class storage, class Row>
RAMGRU_INLINE void memory_products(
    int64_t J, const storage* output, int64_t size, real* dots, Row&& row) {
  for (int64_t j = 0; j < J; j += lanes<real>) {
    int64_t count = std::min(J - j, lanes<real>);
    vec<real> sums[lanes<real>];
    for (int64_t k = 0; k < count; ++k) {
      const real* p = row(j + k);
      vec<real> total{};
      each_block<real>(size, [&](int64_t i, auto n) {
        total += dot(load_block(output + i, n), load_block(p + i, n));
      });
      sums[k] = total;
    }
    store(dots + j, first_of(sums_of<real>(sums, count), count));
  }
}

// The gradients of the rows of a read: grad(j) += weight[j] output
template <class real, class storage, class Grad>
RAMGRU_INLINE void memory_read_backward(
    int64_t J, const real* weight, const storage* output, int64_t size, Grad&& grad) {
  each_block<real>(size, [&](int64_t i, auto n) {
    auto dy = load_block(output + i, n);
    for (int64_t j = 0; j < J; ++j) {
      real* d = grad(j) + i;
      store_block(d, load_block(d, n) + weight[j] * dy, n);
    }
  });
}

// The gradients of the writes of a step. grad(k) points to the gradient of a row after the step,
// which becomes the gradient before the step, null for no access; held(k) is the row that write k
// found. dots[k], in whole vectors, becomes the gradient of gate weight[k]. products: K vectors.
template <class real, class storage, class Held, class Grad>
RAMGRU_INLINE void memory_write_backward(
    int64_t K, const real* weight, real gate, const storage* candidate, storage* grad_candidate,
    int64_t size, vec<real>* products, real* dots, Held&& held, Grad&& grad) {
  for (int64_t k = 0; k < K; ++k) products[k] = vec<real>{};
  each_block<real>(size, [&](int64_t i, auto n) __attribute__((always_inline)) {
    auto c = load_block(candidate + i, n);
    Block<real, vectors_of<real, decltype(n)>> dc{};
    for (int64_t k = K; k-- > 0;) {
      const real* row = held(k);
      if (!row) continue;
      real g = gate * weight[k];
      real* d = grad(k) + i;
      auto after = load_block(d, n);
      products[k] += dot(after, c - load_block(row + i, n));
      dc = dc + g * after;
      store_block(d, (1 - g) * after, n);
    }
    store_block(grad_candidate + i, dc, n);
  });
  for (int64_t k = 0; k < K; k += lanes<real>) {
    int64_t count = std::min(K - k, lanes<real>);
    store(dots + k, first_of(sums_of<real>(products + k, count), count));
  }
}

struct MemoryStep {
  int64_t bytes, threads;
  int64_t B, H, N, K, J, D, A;
  void* rows;                  // (B, H, N, D), overwritten
  const int64_t* write_index;  // (B, H, K)
  const void* write_weight;
  const void* gate;            // (B, H)
  const void* candidate;       // (B, H, D)
  const int64_t* read_index;   // (B, H, J)
  const void* read_weight;
  const void* query;           // (B, H, A), match and null (H,); A is 0 without tags
  const void* match;
  const void* null;
  void* outputs;               // (B, H, D), or (B, H, D - A + 1) if reads are tagged
};

// One step of every head, in place.
template <class storage>
void memory_step(const MemoryStep& a) {
  using real = real_of<storage>;
  constexpr int64_t each = 64;  // heads of a work item; fewer are not worth a thread
  const int64_t heads = a.B * a.H, values = a.D - a.A, width = values + (a.A > 0);
  parallel(a.threads, (heads + each - 1) / each, [&](Work& work) {
    TaggedRead<real> tagged(a.J, a.A);
    for (int64_t item; work.next(item);)
      for (int64_t r = item * each; r < std::min(heads, (item + 1) * each); ++r) {
        real* table = (real*)a.rows + r * a.N * a.D;
        auto row = [&](int64_t cell) { return cell < 0 ? nullptr : table + cell * a.D; };
        auto written = [&](int64_t k) { return row(a.write_index[r * a.K + k]); };
        auto read = [&](int64_t j) { return row(a.read_index[r * a.J + j]); };
        memory_write(a.K, (const real*)a.write_weight + r * a.K, ((const real*)a.gate)[r],
                     (const storage*)a.candidate + r * a.D, a.D, written, written);
        const real* weight = (const real*)a.read_weight + r * a.J;
        storage* y = (storage*)a.outputs + r * width;
        if (a.A > 0) {
          tagged.weigh(weight, (const real*)a.query + r * a.A, ((const real*)a.match)[r % a.H],
                       ((const real*)a.null)[r % a.H], tag_of(values, read));
          weight = tagged.weight();
          narrow(y + values, tagged.share());
        }
        memory_read(a.J, weight, y, values, read);
      }
  });
}

}  // namespace RAMGRU_ISA
}  // namespace ramgru
