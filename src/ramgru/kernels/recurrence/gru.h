// torch.nn.GRU over time: r, z = sigmoid(x + W h + b); n = tanh(x + r (W h + b));
// h[t] = (1 - z) n + z h[t-1], where x is the projected input.
//
// Each result of a product is one sum over k = 0, 1, ..., in a tile of registers: U blocks of one
// vector of units, with G weight vectors each, times R rows. Threads share rows or blocks, which
// changes no sum. Rows are sequences, the longest first, so that the running ones come first. The
// left factor of the products is one small matrix, held twice: for this step and for the next.
#pragma once

#include <algorithm>
#include <numeric>
#include <vector>

#include "../native/parallel.h"
#include "../native/scratch.h"
#include "../native/simd.h"

namespace ramgru {

struct GruForward {
  std::int64_t bytes, threads;
  std::int64_t B, T, H;
  const void* projected;         // (B, T, 3 H): r, z, n
  const void* initial;           // (B, H); this and all others in the dtype of the computation
  const void* weight;            // (3 H, H)
  const void* bias;              // (3 H,) or null
  const bool* reset;             // (B, T) or null
  const std::int64_t* lengths;   // (B,) or null
  void* states;                  // (B, T, H); 0 in the padding
  void* last;                    // (B, H)
  void *r, *z, *n, *hn;          // (B, T, H), hn = W h + b of n; all null if no backward follows
};

struct GruBackward {
  std::int64_t bytes, threads;
  std::int64_t B, T, H;
  const void* initial;
  const void* weight;
  const bool* reset;
  const std::int64_t* lengths;
  const void *states, *r, *z, *n, *hn;  // of the forward pass
  const void* grad_states;              // (B, T, H) or null
  const void* grad_last;                // (B, H) or null
  void* grad_projected;                 // (B, T, 3 H); 0 in the padding, as the next two
  void* grad_hn;                        // (B, T, H) or null
  void* before;                         // (B, T, H) or null: h before each step, 0 after a reset
  void* grad_initial;                   // (B, H) or null
};

inline namespace RAMGRU_ISA {

// 32 vector registers hold 24 sums and the factors, 16 registers hold 12 sums.
#if RAMGRU_VECTOR_BYTES == 64 || defined(__aarch64__)
constexpr int gru_rows = 8, gru_sums = 24;
#else
constexpr int gru_rows = 4, gru_sums = 12;
#endif

// The number of blocks in a tile of R rows.
template <int G, int R>
constexpr int gru_blocks() {
  int U = 8;
  while (U > 1 && G * U * R > gru_sums) U /= 2;
  return U;
}

// sums (U, R, G) = for each of U blocks of weights (K, G), R rows of x (K,)
template <class real, int G, int U, int R>
RAMGRU_INLINE void gru_product(const real* weights, int64_t block, const real* x, int64_t row,
                               int64_t K, vec<real>* sums) {
  using V = vec<real>;
  V sum[U][R][G] = {};
  for (int64_t k = 0; k < K; ++k, weights += G * lanes<real>) {
    V each[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) each[r] = broadcast(x[r * row + k]);
#pragma GCC unroll 8
    for (int u = 0; u < U; ++u) {
      V w[G];
#pragma GCC unroll 8
      for (int g = 0; g < G; ++g) w[g] = load(weights + u * block + g * lanes<real>);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
        for (int g = 0; g < G; ++g) sum[u][r][g] += each[r] * w[g];
    }
  }
#pragma GCC unroll 8
  for (int u = 0; u < U; ++u)
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
      for (int g = 0; g < G; ++g) sums[(u * R + r) * G + g] = sum[u][r][g];
}

// Tiles of R rows over blocks [block, end), U at a time, then fewer.
template <class real, int G, int U, int R, class F>
void gru_tile(const real* packed, int64_t K, const real* x, int64_t row, int64_t block, int64_t end,
              F&& finish) {
  int64_t size = K * G * lanes<real>;
  vec<real> sums[U * R * G];
  for (; block + U <= end; block += U) {
    gru_product<real, G, U, R>(packed + block * size, size, x, row, K, sums);
    for (int u = 0; u < U; ++u) finish(block + u, sums + u * R * G);
  }
  if constexpr (U > 1)
    if (block < end) gru_tile<real, G, U / 2, R>(packed, K, x, row, block, end, finish);
}

// f(R), where the constant R is `size`, at most the given one
template <int R, class F>
RAMGRU_INLINE void gru_of_size(int64_t size, F&& f) {
  if (size == R)
    f(std::integral_constant<int, R>{});
  else if constexpr (R > 1)
    gru_of_size<R - 1>(size, f);
}

// finish(row, rows, block, sums (rows, G)) for all tiles of rows x (rows, K) times packed weights.
template <class real, int G, class F>
void gru_multiply(const real* packed, int64_t K, const real* x, int64_t row, int64_t first,
                  int64_t last, int64_t block, int64_t end, F&& finish) {
  int64_t tiles = (last - first + gru_rows - 1) / gru_rows;
  for (int64_t tile = 0; tile < tiles; ++tile) {
    int64_t from = first + (last - first) * tile / tiles;
    int64_t size = first + (last - first) * (tile + 1) / tiles - from;
    auto of = [&](auto R) {
      gru_tile<real, G, gru_blocks<G, R>(), R>(
          packed, K, x + from * row, row, block, end,
          [&](int64_t j, const vec<real>* sums) { finish(from, size, j, sums); });
    };
    gru_of_size<gru_rows>(size, of);
  }
}

// The sequence of each row, the longest first, and the number of rows that still run.
struct GruRows {
  std::vector<int64_t> sequence, length;

  GruRows(int64_t B, int64_t T, const int64_t* lengths) : sequence(B), length(B, T) {
    std::iota(sequence.begin(), sequence.end(), 0);
    if (lengths == nullptr) return;
    std::stable_sort(sequence.begin(), sequence.end(),
                     [&](int64_t a, int64_t b) { return lengths[a] > lengths[b]; });
    for (int64_t row = 0; row < B; ++row) length[row] = lengths[sequence[row]];
  }

  int64_t running(int64_t t, int64_t first, int64_t last) const {  // the end of the running rows in a range
    while (last > first && length[last - 1] <= t) --last;
    return last;
  }
};

// f(stage, row, end of rows, block, end of blocks) for stages 0, 1, ... in order. A thread takes some
// rows for all stages, or, if there are too few rows, some blocks, with a barrier after each stage.
template <class F>
void gru_walk(int64_t threads, int64_t B, int64_t H, int64_t blocks, int64_t stages, F&& f) {
  if (B >= gru_rows * threads || B * H * H < 8192) {
    int64_t groups = (B + gru_rows - 1) / gru_rows;
    groups = std::min(B, (groups + threads - 1) / threads * threads);
    parallel(threads, groups, [&](Work& work) {
      for (int64_t item; work.next(item);)
        for (int64_t stage = 0; stage < stages; ++stage)
          f(stage, B * item / groups, B * (item + 1) / groups, 0, blocks);
    });
    return;
  }
  Barrier barrier;
  team(std::min(threads, blocks), [&](int64_t thread, int64_t size) {
    int64_t round = 0;
    for (int64_t stage = 0; stage < stages; ++stage) {
      f(stage, 0, B, blocks * thread / size, blocks * (thread + 1) / size);
      barrier.wait(size, round);
    }
  });
}

template <class storage>
struct GruForwardWalk {
  using real = real_of<storage>;
  using V = vec<real>;

  const GruForward& a;
  GruRows rows;
  int64_t blocks, padded;          // vectors of units, and the units in them
  Scratch<real> packed;            // (blocks, H, 3) vectors
  Scratch<real> bias;              // (blocks, 3) vectors
  Scratch<real> held[2];           // (B, padded): h before this step, and before the next

  explicit GruForwardWalk(const GruForward& a)
      : a(a),
        rows(a.B, a.T, a.lengths),
        blocks((a.H + lanes<real> - 1) / lanes<real>),
        padded(blocks * lanes<real>),
        packed(blocks * a.H * 3 * lanes<real>),
        bias(blocks * 3 * lanes<real>) {
    for (auto& buffer : held) std::fill_n(buffer.reserve(a.B * padded), a.B * padded, real(0));
  }

  void run() {
    pack();
    start();
    gru_walk(a.threads, a.B, a.H, blocks, a.T,
             [&](int64_t t, int64_t row, int64_t end, int64_t block, int64_t last_block) {
               gru_multiply<real, 3>(
                   packed.get(), a.H, held[t % 2].get(), padded, row, rows.running(t, row, end),
                   block, last_block, [&](int64_t row, int64_t count, int64_t j, const V* sums) {
                     if ((j + 1) * lanes<real> <= a.H)
                       gates(t, row, count, j, std::integral_constant<int64_t, lanes<real>>{}, sums);
                     else
                       gates(t, row, count, j, a.H - j * lanes<real>, sums);
                   });
             });
  }

  void pack() {
    auto weight = static_cast<const real*>(a.weight);
    auto given = static_cast<const real*>(a.bias);
    parallel(a.threads, blocks, [&](Work& work) {
      for (int64_t j; work.next(j);) {
        real* to = packed.get() + j * a.H * 3 * lanes<real>;
        for (int64_t gate = 0; gate < 3; ++gate)
          for (int64_t i = 0; i < lanes<real>; ++i) {
            int64_t unit = j * lanes<real> + i;
            const real* from = weight + (gate * a.H + unit) * a.H;
            real* column = to + gate * lanes<real> + i;
            for (int64_t k = 0; k < a.H; ++k)
              column[k * 3 * lanes<real>] = unit < a.H ? from[k] : real(0);
            bias[(j * 3 + gate) * lanes<real> + i] =
                unit < a.H && given ? given[gate * a.H + unit] : real(0);
          }
      }
    });
  }

  void start() {
    auto initial = static_cast<const real*>(a.initial);
    auto states = static_cast<real*>(a.states);
    auto last = static_cast<real*>(a.last);
    for (int64_t row = 0; row < a.B; ++row) {
      int64_t b = rows.sequence[row], length = rows.length[row];
      const real* from = initial + b * a.H;
      if (!anew(b, 0)) std::copy_n(from, a.H, &held[0][row * padded]);
      if (length == 0) std::copy_n(from, a.H, last + b * a.H);
      std::fill_n(states + (b * a.T + length) * a.H, (a.T - length) * a.H, real(0));
    }
  }

  bool anew(int64_t b, int64_t t) const { return a.reset && a.reset[b * a.T + t]; }

  // Not inlined: the same instructions, and so the same bits, after every tile.
  template <class N>
  __attribute__((noinline)) void gates(int64_t t, int64_t row, int64_t count, int64_t j, N n,
                                       const V* sums) {
    const real* before = held[t % 2].get();
    real* next = held[(t + 1) % 2].get();
    int64_t unit = j * lanes<real>;
    V bias_r = load(&bias[3 * unit]), bias_z = load(&bias[3 * unit + lanes<real>]),
      bias_n = load(&bias[3 * unit + 2 * lanes<real>]);
    for (; count > 0; --count, ++row, sums += 3) {
      int64_t b = rows.sequence[row], at = (b * a.T + t) * a.H + unit;
      auto x = static_cast<const storage*>(a.projected) + (b * a.T + t) * 3 * a.H + unit;
      V r = sigmoid(load_n(x, n) + (sums[0] + bias_r));
      V z = sigmoid(load_n(x + a.H, n) + (sums[1] + bias_z));
      V hn = sums[2] + bias_n;
      V c = tanh(load_n(x + 2 * a.H, n) + r * hn);
      V h = (1 - z) * c + z * load(before + row * padded + unit);
      store_n(static_cast<real*>(a.states) + at, h, n);
      if (a.r) {
        store_n(static_cast<real*>(a.r) + at, r, n);
        store_n(static_cast<real*>(a.z) + at, z, n);
        store_n(static_cast<real*>(a.n) + at, c, n);
        store_n(static_cast<real*>(a.hn) + at, hn, n);
      }
      // The next block's lines: a row's blocks lie side by side, but rows far apart.
      for (int64_t gate = 0; gate < 3; ++gate) prefetch(x + gate * a.H + lanes<real>, 1);
      for (void* kept : {a.states, a.r, a.z, a.n, a.hn})
        if (kept) prefetch<true>(static_cast<real*>(kept) + at + lanes<real>, 1);
      if (t + 1 == rows.length[row])
        store_n(static_cast<real*>(a.last) + b * a.H + unit, h, n);
      else
        store(next + row * padded + unit, anew(b, t + 1) ? V{} : h);
    }
  }
};

template <class real>
struct GruBackwardWalk {
  using V = vec<real>;

  const GruBackward& a;
  GruRows rows;
  int64_t blocks, padded;
  Scratch<real> packed;   // (blocks, 3 H) vectors
  Scratch<real> grad[2];  // (B, 3 H) of r, z and hn before their activations, at the step after
  Scratch<real> carry;    // (B, padded): the part of dh that passes through z
  int64_t wide;           // from row to row of grad

  explicit GruBackwardWalk(const GruBackward& a)
      : a(a),
        rows(a.B, a.T, a.lengths),
        blocks((a.H + lanes<real> - 1) / lanes<real>),
        padded(blocks * lanes<real>),
        packed(blocks * 3 * a.H * lanes<real>),
        carry(a.B * padded),
        wide((3 * a.H + 15) / 16 * 16 + 16) {
    for (auto& buffer : grad) std::fill_n(buffer.reserve(a.B * wide), a.B * wide, real(0));
  }

  void run() {
    pack();
    start();
    // One stage more than steps: the last stage gives the gradient of the initial state.
    int64_t stages = a.grad_initial ? a.T + 1 : a.T;
    gru_walk(a.threads, a.B, a.H, blocks, stages,
             [&](int64_t stage, int64_t row, int64_t end, int64_t block, int64_t last_block) {
               int64_t t = a.T - 1 - stage;
               gru_multiply<real, 1>(
                   packed.get(), stage ? 3 * a.H : 0, grad[stage % 2].get(), wide, row,
                   t < 0 ? end : rows.running(t, row, end), block, last_block,
                   [&](int64_t row, int64_t count, int64_t j, const V* sums) {
                     if ((j + 1) * lanes<real> <= a.H)
                       step(t, row, count, j, std::integral_constant<int64_t, lanes<real>>{}, sums);
                     else
                       step(t, row, count, j, a.H - j * lanes<real>, sums);
                   });
             });
  }

  void pack() {
    auto weight = static_cast<const real*>(a.weight);
    parallel(a.threads, blocks, [&](Work& work) {
      for (int64_t j; work.next(j);) {
        int64_t unit = j * lanes<real>, n = std::min(lanes<real>, a.H - unit);
        for (int64_t k = 0; k < 3 * a.H; ++k)
          store(&packed[(j * 3 * a.H + k) * lanes<real>],
                n == lanes<real> ? load(weight + k * a.H + unit) : load(weight + k * a.H + unit, n));
      }
    });
  }

  void start() {
    std::fill_n(carry.get(), a.B * padded, real(0));
    for (int64_t row = 0; row < a.B; ++row) {
      int64_t b = rows.sequence[row], end = b * a.T + rows.length[row];
      if (a.grad_last)
        std::copy_n(static_cast<const real*>(a.grad_last) + b * a.H, a.H, &carry[row * padded]);
      int64_t size = (a.T - rows.length[row]) * a.H;
      std::fill_n(static_cast<real*>(a.grad_projected) + end * 3 * a.H, 3 * size, real(0));
      for (void* to : {a.grad_hn, a.before})
        if (to) std::fill_n(static_cast<real*>(to) + end * a.H, size, real(0));
    }
  }

  template <class N>
  __attribute__((noinline)) void step(int64_t t, int64_t row, int64_t count, int64_t j, N n,
                                      const V* sums) {
    real* next = grad[(a.T - t) % 2].get();
    int64_t unit = j * lanes<real>, H = a.H;
    for (; count > 0; --count, ++row, ++sums) {
      int64_t b = rows.sequence[row], at = (b * a.T + t) * H + unit;
      real* passed = &carry[row * padded + unit];
      V g = load(passed) + *sums;
      if (t < 0) {
        store_n(static_cast<real*>(a.grad_initial) + b * H + unit, g, n);
        continue;
      }
      bool anew = a.reset && a.reset[b * a.T + t];
      if (a.grad_states) g += load_n(static_cast<const real*>(a.grad_states) + at, n);
      V r = load_n(static_cast<const real*>(a.r) + at, n);
      V z = load_n(static_cast<const real*>(a.z) + at, n);
      V c = load_n(static_cast<const real*>(a.n) + at, n);
      V hn = load_n(static_cast<const real*>(a.hn) + at, n);
      V h = anew    ? V{}
            : t > 0 ? load_n(static_cast<const real*>(a.states) + at - H, n)
                    : load_n(static_cast<const real*>(a.initial) + b * H + unit, n);
      V dn = g * (1 - z) * (1 - c * c);
      V dz = g * (h - c) * z * (1 - z);
      V dhn = dn * r;
      V dr = dhn * hn * (1 - r);
      real* out = static_cast<real*>(a.grad_projected) + (b * a.T + t) * 3 * H + unit;
      store_n(out, dr, n);
      store_n(out + H, dz, n);
      store_n(out + 2 * H, dn, n);
      if (a.grad_hn) store_n(static_cast<real*>(a.grad_hn) + at, dhn, n);
      if (a.before) store_n(static_cast<real*>(a.before) + at, h, n);
      real* into = next + row * wide + unit;
      store_n(into, anew ? V{} : dr, n);
      store_n(into + H, anew ? V{} : dz, n);
      store_n(into + 2 * H, anew ? V{} : dhn, n);
      store(passed, anew ? V{} : g * z);
    }
  }
};

template <class storage>
void gru_forward(const GruForward& a) {
  GruForwardWalk<storage>(a).run();
}

template <class storage>
void gru_backward(const GruBackward& a) {
  GruBackwardWalk<real_of<storage>>(a).run();
}

}  // namespace RAMGRU_ISA
}  // namespace ramgru
