// One time step of a whole layer, for streams. Each weight is read once; each head writes and reads a
// few cells.
//
// Three stages with a barrier after each of the first two: the products of the input; the memories
// (addresses, write, read); the read-out and the controller. Each thread computes a range of output
// rows. A row is one dot product, so the result does not depend on the number of threads.
#pragma once

#include "../native/parallel.h"
#include "../native/scratch.h"
#include "../native/simd.h"
#include "arguments.h"
#include "heads.h"

namespace ramgru {
inline namespace RAMGRU_ISA {

// y[b, o] = bias[o] + sum_i weight[o, i] x_b[i] for R rows o and S sequences b, together as many as a
// vector has lanes: all sums over lanes are one.
template <class real, int64_t R, int64_t S, class Source>
RAMGRU_INLINE void product_tile(int64_t o, int64_t b, int64_t I, const real* weight,
                                const real* bias, Source&& source, real* y, int64_t width) {
  const real* x[S];
  for (int64_t s = 0; s < S; ++s) x[s] = source(b + s);
  vec<real> sum[S * R], total[S * R];  // sums stay in registers, those over lanes need an array
#pragma GCC unroll 16
  for (int64_t i = 0; i < S * R; ++i) sum[i] = vec<real>{};
  each_vector<real>(I, [&](int64_t i, auto n) __attribute__((always_inline)) {
    vec<real> v[S];
#pragma GCC unroll 4
    for (int64_t s = 0; s < S; ++s) v[s] = load_n(x[s] + i, n);
#pragma GCC unroll 16
    for (int64_t r = 0; r < R; ++r) {
      vec<real> w = load_n(weight + (o + r) * I + i, n);
#pragma GCC unroll 4
      for (int64_t s = 0; s < S; ++s) sum[s * R + r] += w * v[s];
    }
  });
#pragma GCC unroll 16
  for (int64_t i = 0; i < S * R; ++i) total[i] = sum[i];
  real sums[lanes<real>];
  store(sums, sums_of<real>(total, R * S));
  for (int64_t s = 0; s < S; ++s)
    for (int64_t r = 0; r < R; ++r)
      y[(b + s) * width + o + r] = sums[s * R + r] + (bias ? bias[o + r] : real{0});
}

// Rows o in [first, last) of all sequences; x_b = source(b), y of `width`.
template <class real, class Source>
void products(int64_t first, int64_t last, int64_t B, int64_t I, const real* weight,
              const real* bias, Source&& source, real* y, int64_t width) {
  // f(i) for tiles of `size` that cover [first, last), the last one over the one before
  auto cover = [](int64_t first, int64_t last, int64_t size, auto&& f) {
    for (int64_t i = first; i < last; i += size) f(std::min(i, last - size));
  };
  auto with = [&](auto rows, auto sequences) {
    constexpr int64_t R = rows, S = sequences;
    cover(first, last, R, [&](int64_t o) {
      cover(0, B, S, [&](int64_t b) {
        product_tile<real, R, S>(o, b, I, weight, bias, source, y, width);
      });
    });
  };
  constexpr int64_t L = lanes<real>, S = L < 4 ? L : 4;
  if (last - first >= L / S && B >= S)
    with(std::integral_constant<int64_t, L / S>{}, std::integral_constant<int64_t, S>{});
  else if (last - first >= L)
    with(std::integral_constant<int64_t, L>{}, std::integral_constant<int64_t, 1>{});
  else
    with(std::integral_constant<int64_t, 1>{}, std::integral_constant<int64_t, 1>{});
}

template <class real>
void layer_step(const LayerStep& a) {
  using V = vec<real>;
  auto as = [](const void* p) { return static_cast<const real*>(p); };
  const int64_t B = a.B, C = a.C, H = a.H, D = a.D, W = a.window - 1;
  const int64_t keyed = a.keyed, A = a.A, moves = 3 * a.tapes;
  const bool mingru = a.controller == 0, full = a.controller == 1;  // full: weight_hh is a matrix
  const int64_t G = (mingru ? 2 : 3) * C;
  const int64_t width = D + a.tag, found = D + (a.tag > 0);  // of a cell, and of a read
  const real *input = as(a.input), *hidden = as(a.hidden), *context = as(a.context);
  auto next_hidden = static_cast<real*>(a.next_hidden);

  // Products of the input, and the results of the reads: one row per sequence.
  Scratch<real> projected(B * G), recurrent(full ? B * G : 0), candidate(B * H * D), gate(B * H),
      output_gate(B * C), move(B * moves), read(B * H * found), added(B * C), no_key(a.tag);
  Scratch<real> part(a.window * B * keyed * A);  // of keys: each step of the window, the latest first
  Hash<real> hash(keyed, A, a.F, a.U, a.sizes, a.features, a.codes);
  Barrier barrier;
  for (int64_t i = 0; i < a.tag; ++i) no_key[i] = 0;

  auto here = [&](int64_t b) { return input + b * a.I; };
  const int64_t weights = a.I * (G + H * D + keyed * A + C) + C * ((full ? G : 0) + H * found);
  const int64_t threads = weights * B < 1 << 16 ? 1 : a.threads;  // waking threads costs microseconds
  team(threads, [&](int64_t thread, int64_t threads) {
    int64_t round = 0;
    auto share = [&](int64_t size, auto&& f) {
      f(size * thread / threads, size * (thread + 1) / threads);
    };

    share(G, [&](int64_t first, int64_t last) {
      products(first, last, B, a.I, as(a.weight_ih), as(a.bias_ih), here, projected.get(), G);
      if (full)
        products(first, last, B, C, as(a.weight_hh), as(a.bias_hh),
                 [&](int64_t b) { return hidden + b * C; }, recurrent.get(), G);
    });
    share(H * D, [&](int64_t first, int64_t last) {
      products(first, last, B, a.I, as(a.candidate_weight), as(a.candidate_bias), here,
               candidate.get(), H * D);
    });
    share(H, [&](int64_t first, int64_t last) {
      products(first, last, B, a.I, as(a.gate_weight), as(a.gate_bias), here, gate.get(), H);
    });
    share(C, [&](int64_t first, int64_t last) {
      products(first, last, B, a.I, as(a.output_weight), as(a.output_bias), here,
               output_gate.get(), C);
    });
    share(moves, [&](int64_t first, int64_t last) {
      products(first, last, B, a.I, as(a.move_weight), as(a.move_bias), here, move.get(), moves);
    });
    share(keyed * A, [&](int64_t first, int64_t last) {
      for (int64_t head = keyed ? first / A : 0; head * A < last; ++head) {
        int64_t begin = head * A < first ? first : head * A;
        int64_t end = (head + 1) * A < last ? (head + 1) * A : last;
        int64_t past = a.skips[head] + a.spans[head], offset = a.offsets[head];
        for (int64_t o = a.skips[head]; o < past + offset; ++o) {
          if (o == past && offset > a.spans[head]) o += offset - a.spans[head];  // skip steps of no key
          products(begin, end, B, a.I, as(a.key_weight), static_cast<const real*>(nullptr),
                   [&](int64_t b) { return o ? context + (b * W + W - o) * a.I : here(b); },
                   part.get() + o * B * keyed * A, keyed * A);
        }
      }
    });
    barrier.wait(threads, round);

    const bool together = B > lanes<real> / 4 && keyed && BlockAddress<real, int64_t>::holds(hash.cells());
    auto cells_of = [&](int64_t item) {
      return Cells<real>{D, a.tag, static_cast<real*>(a.rows) + item * a.N * width,
                        candidate.get() + item * D, read.get() + item * found, a.most,
                        a.written ? a.written + item * a.most : nullptr,
                        a.before ? static_cast<real*>(a.before) + item * a.most * width : nullptr};
    };
    auto open_of = [&](int64_t item) { return sigmoid(broadcast(gate[item]))[0]; };
    share(together ? keyed : 0, [&](int64_t first, int64_t last) {
      KeyStep<real> with_key(a, hash, part.get());
      for (int64_t h = first; h < last; ++h)
        with_key.step_all(h, [&](int64_t b) { return cells_of(b * H + h); },
                          [&](int64_t b) { return open_of(b * H + h); });
    });
    share(B * H, [&](int64_t first, int64_t last) {
      KeyStep<real> with_key(a, hash, part.get());
      for (int64_t item = first; item < last; ++item) {
        int64_t b = item / H, h = item % H, lag = h - keyed, tape = lag - a.lags;
        if (together && lag < 0) continue;
        Cells<real> cells = cells_of(item);
        real open = open_of(item);
        if (lag < 0) {
          if (h == 0 || item == first)  // all heads at once, so that their rows come side by side
            for (int64_t i = item; i < std::min(last, b * H + keyed); ++i)
              with_key.find(b, i % H, cells_of(i));
          with_key.step(h, cells, open);
        } else if (tape < 0)
          lag_step(a, b, lag, cells, no_key.get());
        else
          tape_step(a, b, tape, cells, open, no_key.get(), move.get() + b * moves);
      }
    });
    barrier.wait(threads, round);

    share(C, [&](int64_t first, int64_t last) {
      products(first, last, B, H * found, as(a.read_out_weight), static_cast<const real*>(nullptr),
               [&](int64_t b) { return read.get() + b * H * found; }, added.get(), C);
      for (int64_t b = 0; b < B; ++b) {
        const real *x = projected.get() + b * G, *h = hidden + b * C;
        real *next = next_hidden + b * C, *out = static_cast<real*>(a.output) + b * C;
        each_vector<real>(last - first, [&](int64_t i, auto n) {
          int64_t c = first + i;
          V before = load_n(h + c, n), z, proposed;
          auto past = [&](int64_t gate) {  // what the state adds to a gate
            int64_t at = gate * C + c;
            if (full) return load_n(recurrent.get() + b * G + at, n);
            V u = load_n(as(a.weight_hh) + at, n) * before;
            return a.bias_hh ? u + load_n(as(a.bias_hh) + at, n) : u;
          };
          if (mingru) {
            z = sigmoid(load_n(x + c, n));
            proposed = load_n(x + C + c, n);
          } else {
            V r = sigmoid(load_n(x + c, n) + past(0));
            z = 1 - sigmoid(load_n(x + C + c, n) + past(1));
            proposed = tanh(load_n(x + 2 * C + c, n) + r * past(2));
          }
          V after = (1 - z) * before + z * proposed;
          store_n(next + c, after, n);
          V open = sigmoid(load_n(output_gate.get() + b * C + c, n));
          store_n(out + c, after + open * load_n(added.get() + b * C + c, n), n);
        });
      }
    });
  });

  auto next_context = static_cast<real*>(a.next_context);
  for (int64_t b = 0; b < B && W > 0; ++b) {
    std::memcpy(next_context + b * W * a.I, context + (b * W + 1) * a.I,
                (W - 1) * a.I * sizeof(real));
    std::memcpy(next_context + (b * W + W - 1) * a.I, here(b), a.I * sizeof(real));
  }
}

}  // namespace RAMGRU_ISA
}  // namespace ramgru
