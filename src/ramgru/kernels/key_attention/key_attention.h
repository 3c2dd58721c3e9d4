// The gradient of attention over a window of keys, whose result itself is never computed:
//
//   p_s = gate_s e_s / Z,  e_s = exp(scale / A u . k_s - max),  Z = sum_s gate_s e_s + exp(null - max)
//   y   = sum_s p_s c_s;  with g the gradient of y and a_s = g . c_s, mean = g . y = sum_s p_s a_s:
//   d score_s = p_s (a_s - mean),  d gate_s = e_s / Z (a_s - mean),  d c_s = p_s g,
//   d null = -p_null mean
//
// An item is a head of a sequence. It takes a block of queries at a time, with all keys of their
// windows: a row of the matrices below is a key, and its lanes are the queries of the block.
#pragma once

#include <algorithm>

#include "../native/parallel.h"
#include "../native/scratch.h"
#include "../native/simd.h"

namespace ramgru {

struct KeyAttentionBackward {
  std::int64_t bytes, threads;
  std::int64_t B, T, H, A, D, window;
  std::int64_t grad_b, grad_t, gate_b, gate_t, candidate_b, candidate_t;  // strides
  const void* query;            // (B, T, H, A)
  const void* key;              // (B, T, H, A)
  const void* scale;            // (H,)
  const void* null;             // (H,)
  const bool* reset;            // (B, T) or null
  const std::int64_t* lengths;  // (B,) or null
  void* grad_query;             // (B, T, H, A)
  void* grad_key;               // (B, T, H, A)
  void* grad_scale;             // (H,)
  void* grad_gate;              // (B, T, H)
  void* grad_candidate;         // (B, T, H, D)
  void* grad_null;              // (H,)
  const void* grad;             // (B, T, H, D), strided
  const void* gate;             // (B, T, H), strided
  const void* candidate;        // (B, T, H, D), strided
};

inline namespace RAMGRU_ISA {

// 32 vector registers hold 16 sums and the factors, 16 registers hold 8 sums.
#if RAMGRU_VECTOR_BYTES == 64 || defined(__aarch64__)
constexpr int attention_tile = 8;
#else
constexpr int attention_tile = 4;
#endif
constexpr int64_t attention_block = 16;  // queries

// The left factor of a product: the number k of row i is at[i * row + k * step].
template <class real>
struct Left {
  const real* at;
  int64_t row, step;
};

// R rows and U vectors of out (+)= left right, the last vector of n numbers
template <bool add, int R, int U, class real, class N>
RAMGRU_INLINE void attention_product(Left<real> left, int64_t K, const real* right, int64_t pitch,
                                     real* out, int64_t stride, N n) {
  constexpr int64_t L = lanes<real>;
  vec<real> sum[R][U] = {};
  for (int64_t k = 0; k < K; ++k, right += pitch, left.at += left.step) {
    vec<real> each[U];
#pragma GCC unroll 2
    for (int u = 0; u < U; ++u) each[u] = load(right + u * L);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
      for (int u = 0; u < U; ++u) sum[r][u] += broadcast(left.at[r * left.row]) * each[u];
  }
  auto put = [&](real* to, vec<real> v, auto n) {
    if constexpr (add) v += load_n(to, n);
    store_n(to, v, n);
  };
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    if constexpr (U == 2) put(out + r * stride, sum[r][0], std::integral_constant<int64_t, L>{});
    put(out + r * stride + (U - 1) * L, sum[r][U - 1], n);
  }
}

// out (rows, columns) (+)= left (rows, K) right (K, columns), which is padded to whole vectors
template <bool add, class real>
void attention_multiply(Left<real> left, int64_t rows, int64_t K, const real* right, int64_t pitch,
                        int64_t columns, real* out, int64_t stride) {
  constexpr int64_t L = lanes<real>;
  constexpr int R = attention_tile;
  auto panel = [&](int64_t c, auto U, auto n) {
    int64_t i = 0;
    for (; i + R <= rows; i += R)
      attention_product<add, R, U>({left.at + i * left.row, left.row, left.step}, K, right + c, pitch,
                                   out + i * stride + c, stride, n);
    for (; i < rows; ++i)
      attention_product<add, 1, U>({left.at + i * left.row, left.row, left.step}, K, right + c, pitch,
                                   out + i * stride + c, stride, n);
  };
  std::integral_constant<int, 1> one;
  std::integral_constant<int, 2> two;
  std::integral_constant<int64_t, L> whole;
  int64_t c = 0;
  for (; c + 2 * L <= columns; c += 2 * L) panel(c, two, whole);
  if (c + L <= columns) panel(c, one, whole), c += L;
  if (c < columns) panel(c, one, columns - c);
}

// The gradients of one head of one sequence.
template <class real>
class KeyAttention {
  using V = vec<real>;
  static constexpr int64_t L = lanes<real>, Q = attention_block, vectors = Q / L;

 public:
  explicit KeyAttention(const KeyAttentionBackward& a)
      : a(a),
        wide_a((a.A + L - 1) / L * L),
        wide_d((a.D + L - 1) / L * L),
        score(std::min(a.T, a.window + Q) * Q),
        inner(std::min(a.T, a.window + Q) * Q),
        first(a.T),
        query(Q * wide_a),
        query_lanes(wide_a * Q),
        grad(Q * wide_d),
        grad_lanes(wide_d * Q),
        back(wide_a * Q) {
    std::fill_n(back.get(), wide_a * Q, real(0));
  }

  // Adds the gradients of scale and null to the two sums.
  void run(int64_t b, int64_t h, double* grad_scale, double* grad_null) {
    int64_t T = a.T, H = a.H, length = a.lengths ? a.lengths[b] : T;
    for (int64_t t = 0; t < T; ++t) {
      int64_t at = (b * T + t) * H + h;
      std::fill_n(static_cast<real*>(a.grad_key) + at * a.A, a.A, real(0));
      std::fill_n(static_cast<real*>(a.grad_candidate) + at * a.D, a.D, real(0));
      static_cast<real*>(a.grad_gate)[at] = 0;
      if (t >= length) std::fill_n(static_cast<real*>(a.grad_query) + at * a.A, a.A, real(0));
    }
    for (int64_t t = 0, start = 0; t < length; ++t) {
      if (a.reset && a.reset[b * T + t]) start = t;
      first[t] = std::max(start, t - a.window + 1);
    }
    for (int64_t t = 0; t < length; t += Q)
      block(b, h, t, std::min(Q, length - t), grad_scale, grad_null);
  }

 private:
  void block(int64_t b, int64_t h, int64_t t, int64_t count, double* grad_scale,
             double* grad_null) {
    int64_t A = a.A, D = a.D, row_a = a.H * A, row_d = a.H * D;
    int64_t begin = first[t], keys = t + count - begin;
    real factor = static_cast<const real*>(a.scale)[h] / real(A);
    const real* u = static_cast<const real*>(a.query) + (b * a.T + t) * row_a + h * A;
    const real* g = static_cast<const real*>(a.grad) + b * a.grad_b + t * a.grad_t + h * D;
    const real* k = static_cast<const real*>(a.key) + (b * a.T + begin) * row_a + h * A;
    const real* c = static_cast<const real*>(a.candidate) + b * a.candidate_b +
                    begin * a.candidate_t + h * D;
    const real* gate = static_cast<const real*>(a.gate) + b * a.gate_b + begin * a.gate_t + h;
    int64_t from = (b * a.T + begin) * a.H + h;  // of the first key

    pack(u, row_a, A, count, factor, query.get(), query_lanes.get());
    pack(g, a.grad_t, D, count, 1, grad.get(), grad_lanes.get());
    attention_multiply<false>({k, row_a, 1}, keys, A, query_lanes.get(), Q, Q, score.get(), Q);
    attention_multiply<false>({c, a.candidate_t, 1}, keys, D, grad_lanes.get(), Q, Q, inner.get(), Q);
    *grad_null -= softmax(t, begin, count, keys, static_cast<const real*>(a.null)[h], gate,
                          static_cast<real*>(a.grad_gate) + from);

    attention_multiply<true>({score.get(), Q, 1}, keys, Q, grad.get(), wide_d, D,
                             static_cast<real*>(a.grad_candidate) + from * D, row_d);
    attention_multiply<true>({inner.get(), Q, 1}, keys, Q, query.get(), wide_a, A,
                             static_cast<real*>(a.grad_key) + from * A, row_a);
    attention_multiply<false>({k, 1, row_a}, A, keys, inner.get(), Q, Q, back.get(), Q);
    real* grad_u = static_cast<real*>(a.grad_query) + (b * a.T + t) * row_a + h * A;
    V sums{};
    for (int64_t q = 0; q < count; q += L)
      each_vector<real>(A, [&](int64_t i, auto n) {
        V tile[L];
        for (int64_t j = 0; j < L; ++j) tile[j] = load(&back[(i + j) * Q + q]);
        transpose<real>(tile);
        for (int64_t j = 0; j < L && q + j < count; ++j) {
          sums += tile[j] * load_n(u + (q + j) * row_a + i, n);
          store_n(grad_u + (q + j) * row_a + i, factor * tile[j], n);
        }
      });
    *grad_scale += double(sum<real>(sums)) / double(A);
  }

  // The rows of a block times a factor, as rows (Q, wide) and as lanes (wide, Q), padded with zeros.
  void pack(const real* from, int64_t stride, int64_t width, int64_t count, real factor, real* rows,
            real* lanes) {
    int64_t wide = (width + L - 1) / L * L;
    for (int64_t q = 0; q < Q; q += L)
      each_vector<real>(width, [&](int64_t i, auto n) {
        V tile[L];
        for (int64_t j = 0; j < L; ++j) {
          tile[j] = q + j < count ? factor * load_n(from + (q + j) * stride + i, n) : V{};
          store(rows + (q + j) * wide + i, tile[j]);
        }
        transpose<real>(tile);
        for (int64_t j = 0; j < L; ++j) store(lanes + (i + j) * Q + q, tile[j]);
      });
  }

  // In: scores and a_s; out: p_s in place of the scores and their gradients in place of a_s. Adds the
  // gradients of the gates, and returns the sum of p_null mean.
  double softmax(int64_t t, int64_t begin, int64_t count, int64_t keys, real null, const real* gate,
                 real* grad_gate) {
    real lower[Q], upper[Q];  // the first and the last key of each query; none in the padding
    for (int64_t q = 0; q < Q; ++q) {
      lower[q] = q < count ? real(first[t + q] - begin) : real(0);
      upper[q] = q < count ? real(t + q - begin) : real(-1);
    }
    constexpr real most = sizeof(real) == 4 ? real(1e30) : real(1e300);
    bool has_null = null > -most;
    V low[vectors], high[vectors], top[vectors], total[vectors], mean[vectors];
    for (int64_t v = 0; v < vectors; ++v) {
      low[v] = load(lower + v * L), high[v] = load(upper + v * L);
      top[v] = broadcast(has_null ? null : -most);
    }
    for (int64_t s = 0; s < keys; ++s)
      for (int64_t v = 0; v < vectors; ++v) {
        V x = load(&score[s * Q + v * L]), at = broadcast(real(s));
        x = (at >= low[v]) & (at <= high[v]) ? x : top[v];
        top[v] = x > top[v] ? x : top[v];
      }
    for (int64_t v = 0; v < vectors; ++v) {
      total[v] = has_null ? exp(null - top[v]) : V{};
      mean[v] = V{};
    }
    for (int64_t s = 0; s < keys; ++s) {
      real z = gate[s * a.gate_t];
      for (int64_t v = 0; v < vectors; ++v) {
        V at = broadcast(real(s)), e = exp(load(&score[s * Q + v * L]) - top[v]);
        e = (at >= low[v]) & (at <= high[v]) ? e : V{};
        store(&score[s * Q + v * L], e);
        total[v] += z * e;
        mean[v] += z * e * load(&inner[s * Q + v * L]);
      }
    }
    V of_null{};
    for (int64_t v = 0; v < vectors; ++v) {
      total[v] = total[v] < 1 / most ? V{} : 1 / total[v];  // inverted; no weight: no gradient
      mean[v] *= total[v];
      if (has_null) of_null += exp(null - top[v]) * total[v] * mean[v];
    }
    for (int64_t s = 0; s < keys; ++s) {
      real z = gate[s * a.gate_t];
      V of_gate{};
      for (int64_t v = 0; v < vectors; ++v) {
        V share = load(&score[s * Q + v * L]) * total[v];
        V d = share * (load(&inner[s * Q + v * L]) - mean[v]);
        of_gate += d;
        store(&score[s * Q + v * L], z * share);
        store(&inner[s * Q + v * L], z * d);
      }
      grad_gate[s * a.H] += sum<real>(of_gate);
    }
    return sum<real>(of_null);
  }

  const KeyAttentionBackward& a;
  int64_t wide_a, wide_d;            // A and D, padded to whole vectors
  Scratch<real> score, inner;        // (keys, Q), see `softmax`
  Scratch<int64_t> first;            // (T) the first key of each query
  Scratch<real> query, query_lanes;  // (Q, wide_a), (wide_a, Q), times scale / A
  Scratch<real> grad, grad_lanes;    // (Q, wide_d), (wide_d, Q)
  Scratch<real> back;                // (wide_a, Q) the gradient of query_lanes
};

template <class real>
void key_attention_backward(const KeyAttentionBackward& a) {
  Scratch<double> sums(2 * a.B * a.H);  // of each item: the gradients of scale and null
  std::fill_n(sums.get(), 2 * a.B * a.H, 0.0);
  parallel(a.threads, a.B * a.H, [&](Work& work) {
    KeyAttention<real> attention(a);
    for (int64_t item; work.next(item);)  // threads work on different sequences, far apart in memory
      attention.run(item % a.B, item / a.B, &sums[2 * item], &sums[2 * item + 1]);
  });
  for (int64_t h = 0; h < a.H; ++h) {
    double scale = 0, null = 0;
    for (int64_t b = 0; b < a.B; ++b) {
      scale += sums[2 * (h * a.B + b)];
      null += sums[2 * (h * a.B + b) + 1];
    }
    static_cast<real*>(a.grad_scale)[h] = real(scale);
    static_cast<real*>(a.grad_null)[h] = real(null);
  }
}

}  // namespace RAMGRU_ISA
}  // namespace ramgru
