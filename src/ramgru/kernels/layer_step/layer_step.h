// One time step of a whole layer, for streams. Each weight is read once; each head writes K cells and
// reads J cells.
//
// Three stages with a barrier after each of the first two: the products of the input; the memories
// (addresses, write, read); the read-out and the controller. Each thread computes a range of output
// rows. A row is one dot product, so the result does not depend on the number of threads.
#pragma once

#include "../address/nearest.h"
#include "../memory_scan/step.h"
#include "../native/parallel.h"
#include "../native/scratch.h"
#include "../native/simd.h"

namespace ramgru {

struct LayerStep {
  std::int64_t bytes, threads;
  std::int64_t B, I, C, H, N, D, K, J, window, A, F, U, steps;  // K cells written, J read
  std::int64_t controller;       // 0: a minGRU, 1: an exact GRU, 2: a GRU with diagonal weight_hh
  const void* weight_ih;         // (3 C, I): r, z, n; or (2 C, I): z, n
  const void* weight_hh;         // (3 C, C), (3 C,) if diagonal, or null
  const void* bias_ih;           // or null
  const void* bias_hh;           // or null
  const void* candidate_weight;  // (H D, I)
  const void* candidate_bias;
  const void* gate_weight;       // (H, I)
  const void* gate_bias;
  const void* output_weight;     // (C, I)
  const void* output_bias;
  const void* read_out_weight;   // (C, H D)
  const void* sharpness;         // (H,)
  const void* key_weight;        // (H A, I)
  const void* taps;              // (H, steps, A), or null: each key is one step
  const void* features;          // of `Hash`
  const void* codes;
  const std::int64_t* offsets;   // (H,) a head writes at the key of so many steps before
  const std::int64_t* skips;     // (H,) steps from the last step of a key to the current step
  const std::int64_t* spans;     // (H,) steps of a key
  const std::int64_t* sizes;     // (U,)
  const void* input;             // (B, I)
  const void* hidden;            // (B, C)
  const void* context;           // (B, window - 1, I)
  void* rows;                    // (B, H, N, D), changed
  void* output;                  // (B, C)
  void* next_hidden;             // (B, C)
  void* next_context;            // (B, window - 1, I)
};

inline namespace RAMGRU_ISA {

// y[b, o] = bias[o] + sum_i weight[o, i] x_b[i] for o in [first, last); x_b = source(b), y of `width`.
template <class real, class Source>
void products(int64_t first, int64_t last, int64_t B, int64_t I, const real* weight,
              const real* bias, Source&& source, real* y, int64_t width) {
  constexpr int64_t R = 4;  // rows of the weights at a time: independent sums
  for (int64_t o = first; o < last;) {
    int64_t rows = last - o < R ? 1 : R;
    for (int64_t b = 0; b < B; ++b) {
      const real* x = source(b);
      vec<real> total[R] = {};
      auto add = [&](auto count) {
        each_vector<real>(I, [&](int64_t i, auto n) {
          vec<real> v = load_n(x + i, n);
          for (int64_t r = 0; r < count; ++r) total[r] += load_n(weight + (o + r) * I + i, n) * v;
        });
      };
      if (rows == R)
        add(std::integral_constant<int64_t, R>{});
      else
        add(std::integral_constant<int64_t, 1>{});
      for (int64_t r = 0; r < rows; ++r)
        y[b * width + o + r] = sum<real>(total[r]) + (bias ? bias[o + r] : real{0});
    }
    o += rows;
  }
}

template <class real>
void layer_step(const LayerStep& a) {
  using V = vec<real>;
  auto as = [](const void* p) { return static_cast<const real*>(p); };
  const int64_t B = a.B, C = a.C, H = a.H, D = a.D, W = a.window - 1, A = a.A;
  const bool mingru = a.controller == 0, full = a.controller == 1;  // full: weight_hh is a matrix
  const int64_t G = (mingru ? 2 : 3) * C;
  const real *input = as(a.input), *hidden = as(a.hidden), *context = as(a.context);
  auto next_hidden = static_cast<real*>(a.next_hidden);

  // Products of the input, and the results of the reads: one row per sequence.
  Scratch<real> projected(B * G), recurrent(full ? B * G : 0), candidate(B * H * D), gate(B * H),
      output_gate(B * C), read(B * H * D), added(B * C);
  Scratch<real> part(a.window * B * H * A);  // of keys: each step of the window, the latest first
  Hash<real> hash(H, A, a.F, a.U, a.sizes, a.features, a.codes);
  Barrier barrier;

  auto here = [&](int64_t b) { return input + b * a.I; };
  const int64_t weights = a.I * (G + H * (D + A) + C) + C * ((full ? G : 0) + H * D);
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
    share(H * A, [&](int64_t first, int64_t last) {
      for (int64_t head = first / A; head * A < last; ++head) {
        int64_t begin = head * A < first ? first : head * A;
        int64_t end = (head + 1) * A < last ? (head + 1) * A : last;
        int64_t past = a.skips[head] + a.spans[head], offset = a.offsets[head];
        for (int64_t o = a.skips[head]; o < past + offset; ++o) {
          if (o == past && offset > a.spans[head]) o += offset - a.spans[head];  // skip steps of no key
          products(begin, end, B, a.I, as(a.key_weight), static_cast<const real*>(nullptr),
                   [&](int64_t b) { return o ? context + (b * W + W - o) * a.I : here(b); },
                   part.get() + o * B * H * A, H * A);
        }
      }
    });
    barrier.wait(threads, round);

    share(B * H, [&](int64_t first, int64_t last) {
      TokenAddress<real> address(hash, a.K, a.J);
      Scratch<int64_t> read_cell(a.J);
      Scratch<real> read_weight(a.J), key(A);
      for (int64_t item = first; item < last; ++item) {
        int64_t h = item % H;
        real sharpness = as(a.sharpness)[h];
        real *table = static_cast<real*>(a.rows) + item * a.N * D, *c = candidate.get() + item * D;

        auto key_at = [&](int64_t offset) {  // the key that ends `offset` steps before
          each_vector<real>(A, [&](int64_t i, auto n) {
            V sum = {};
            for (int64_t o = a.skips[h]; o < a.skips[h] + a.spans[h]; ++o) {
              V step = load_n(part.get() + ((o + offset) * B * H + item) * A + i, n);
              sum += a.taps ? load_n(as(a.taps) + (h * a.steps + o) * A + i, n) * step : step;
            }
            store_n(key.get() + i, sum, n);
          });
          return key.get();
        };
        address.find(h, key_at(0), sharpness);
        int64_t K = address.writes(), J = address.reads();
        std::memcpy(read_cell.get(), address.cell(), J * sizeof(int64_t));
        std::memcpy(read_weight.get(), address.read(), J * sizeof(real));
        if (a.offsets[h]) address.find(h, key_at(a.offsets[h]), sharpness);

        auto written = [&](int64_t k) { return table + address.cell()[k] * D; };
        auto open = sigmoid(broadcast(gate[item]))[0];
        memory_write(K, address.write(), open, c, D, written, written);
        memory_read(J, read_weight.get(), read.get() + item * D, D,
                    [&](int64_t k) { return table + read_cell[k] * D; });
      }
    });
    barrier.wait(threads, round);

    share(C, [&](int64_t first, int64_t last) {
      products(first, last, B, H * D, as(a.read_out_weight), static_cast<const real*>(nullptr),
               [&](int64_t b) { return read.get() + b * H * D; }, added.get(), C);
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
