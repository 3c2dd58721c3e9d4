// The cells that all steps and heads write and read, scored once, and their gradients.
#pragma once

#include <algorithm>
#include <numeric>

#include "../native/parallel.h"
#include "../native/scratch.h"
#include "../native/simd.h"
#include "nearest.h"

namespace ramgru {

struct ProductKeysForward {
  std::int64_t bytes, threads;
  std::int64_t B, T, H, A, U, W, writes, reads;  // at most the number of cells
  const void* query;                        // (B, T, H, U, A)
  const void* before;                       // (B, W, H, U, A) the W steps before the first
  const void* nothing;                      // (H, U, A) in place of a step before a reset
  const void* codes;                        // (H, n_1 + ... + n_U, A)
  const void* sharpness;                    // (H) the logarithm of the scores' factor
  const bool* reset;                        // (B, T) or null
  const std::int64_t* sizes;                // (U) n_1 ... n_U
  const std::int64_t* offsets;              // (H) at most W
  std::int64_t* write_index;                // (B, T, H, writes)
  void* write_weight;
  std::int64_t* read_index;                 // (B, T, H, reads)
  void* read_weight;
  std::int64_t* nothing_index;              // (H, writes) cells nearest to `nothing`
  void* nothing_weight;
};

struct ProductKeysBackward {
  std::int64_t bytes, threads;
  std::int64_t B, T, H, A, U, W, writes, reads;
  const void* query;
  const void* before;
  const void* nothing;
  const void* codes;
  const void* sharpness;
  const bool* reset;
  const std::int64_t* sizes;
  const std::int64_t* offsets;
  const std::int64_t* write_index;
  const void* write_weight;
  const std::int64_t* read_index;
  const void* read_weight;
  const std::int64_t* nothing_index;
  const void* nothing_weight;
  const void* grad_write;                   // (B, T, H, writes) of the weights, or null
  const void* grad_read;                    // (B, T, H, reads) or null
  void* grad_query;
  void* grad_before;
  void* grad_sharpness;
};

inline namespace RAMGRU_ISA {

constexpr int64_t token_chunk = 128;  // tokens of an item: they stay in the cache for all heads

// Which step a head writes for a source: the one `offset` steps after it, and -1 where that is none
// of the T steps or begins anew, or a step between does. Sources before the first are negative.
inline int64_t step_written(const bool* reset, int64_t T, int64_t source, int64_t offset) {
  int64_t t = source + offset;
  if (t < 0 || t >= T) return -1;
  if (reset != nullptr)
    for (int64_t s = std::max<int64_t>(source + 1, 0); s <= t; ++s)
      if (reset[s]) return -1;
  return t;
}

template <class real, class Size>
void find_addresses(const ProductKeysForward& a, Size K) {
  auto query = static_cast<const real*>(a.query), before = static_cast<const real*>(a.before);
  auto nothing = static_cast<const real*>(a.nothing);
  auto sharpness = static_cast<const real*>(a.sharpness);
  auto write_weight = static_cast<real*>(a.write_weight);
  auto read_weight = static_cast<real*>(a.read_weight);
  auto nothing_weight = static_cast<real*>(a.nothing_weight);
  int64_t T = a.T, H = a.H, rows = a.B * T, writes = a.writes, reads = a.reads;
  int64_t width = a.U * a.A;
  PackedCodes<real> codes(H, a.A, a.U, a.sizes);
  parallel(a.threads, H, [&](Work& work) {
    int64_t every = std::accumulate(a.sizes, a.sizes + a.U, int64_t{0});
    for (int64_t h; work.next(h);) {
      const real* part = static_cast<const real*>(a.codes) + h * every * a.A;
      for (int64_t u = 0; u < a.U; part += a.sizes[u++] * a.A) codes.pack(h, u, part);
    }
  });
  if (a.reset != nullptr) {
    TokenAddress<real> address(codes, writes, reads);
    for (int64_t h = 0; h < H; ++h) {
      address.find(h, nothing + h * width, sharpness[h]);
      std::memcpy(a.nothing_index + h * writes, address.cell(), writes * sizeof(int64_t));
      std::memcpy(nothing_weight + h * writes, address.write(), writes * sizeof(real));
    }
  }

  // Step `source` of sequence b in head h is read at `source` and written `offset` steps after it.
  auto put = [&](int64_t h, int64_t b, int64_t source, auto cell, auto write, auto read,
                 int64_t stride) {
    const bool* reset = a.reset == nullptr ? nullptr : a.reset + b * T;
    int64_t t = step_written(reset, T, source, a.offsets[h]);
    if (t >= 0)
      for (int64_t k = 0, slot = ((b * T + t) * H + h) * writes; k < writes; ++k) {
        a.write_index[slot + k] = cell[k * stride];
        write_weight[slot + k] = write[k * stride];
      }
    if (source >= 0)
      for (int64_t k = 0, slot = ((b * T + source) * H + h) * reads; k < reads; ++k) {
        a.read_index[slot + k] = cell[k * stride];
        read_weight[slot + k] = read[k * stride];
      }
  };

  // Items are chunks of tokens with all heads, then chunks of the context of one head.
  int64_t token_items = (rows + token_chunk - 1) / token_chunk;
  Scratch<int64_t> context_items(H + 1);
  context_items[0] = token_items;
  for (int64_t h = 0; h < H; ++h)
    context_items[h + 1] =
        context_items[h] + (a.B * a.offsets[h] + token_chunk - 1) / token_chunk;
  parallel(a.threads, context_items[H], [&](Work& work) {
    BlockAddress<real, Size> block(codes, K, reads);
    TokenAddress<real> alone(codes, writes, reads);
    struct Source {
      const real* query;
      int64_t b, step;
    };
    Source sources[token_chunk];
    auto find = [&](int64_t h, int64_t chunk) {
      const real* queries[token_tile<real>];
      for (int64_t first = 0; first < chunk; first += token_tile<real>) {
        int64_t count = std::min(token_tile<real>, chunk - first);
        const Source* tile = sources + first;
        for (int64_t i = 0; i < count; ++i) queries[i] = tile[i].query;
        if (count > lanes<real> / 4 && BlockAddress<real, Size>::holds(codes.cells()))
          block.find(h, queries, count, sharpness[h],
                     [&](int64_t i, auto cell, auto write, auto read) {
                       put(h, tile[i].b, tile[i].step, cell, write, read, lanes<real>);
                     });
        else
          for (int64_t i = 0; i < count; ++i) {
            alone.find(h, queries[i], sharpness[h]);
            put(h, tile[i].b, tile[i].step, alone.cell(), alone.write(), alone.read(), 1);
          }
      }
    };
    for (int64_t item; work.next(item);) {
      int64_t h = 0;
      if (item < token_items) {
        int64_t begin = item * token_chunk, count = std::min(token_chunk, rows - begin);
        for (; h < H; ++h) {
          for (int64_t i = 0, row = begin; i < count; ++i, ++row)
            sources[i] = {query + (row * H + h) * width, row / T, row % T};
          find(h, count);
          if (a.reset == nullptr) continue;
          for (int64_t i = 0, row = begin; i < count; ++i, ++row) {
            int64_t offset = a.offsets[h], slot = (row * H + h) * writes;
            const Source& here = sources[i];
            if (step_written(a.reset + here.b * T, T, here.step - offset, offset) >= 0) continue;
            std::memcpy(a.write_index + slot, a.nothing_index + h * writes,
                        writes * sizeof(int64_t));
            std::memcpy(write_weight + slot, nothing_weight + h * writes, writes * sizeof(real));
          }
        }
      } else {
        while (item >= context_items[h + 1]) ++h;
        int64_t offset = a.offsets[h], begin = (item - context_items[h]) * token_chunk;
        int64_t count = std::min(token_chunk, a.B * offset - begin);
        for (int64_t i = 0; i < count; ++i) {
          int64_t b = (begin + i) / offset, step = (begin + i) % offset - offset;
          sources[i] = {before + ((b * a.W + a.W + step) * H + h) * width, b, step};
        }
        find(h, count);
      }
    }
  });
}

template <class real>
void product_keys_forward(const ProductKeysForward& a) {
  int64_t K = std::max(a.writes, a.reads);
  if constexpr (std::is_same_v<real, float>) {  // lists of the usual lengths stay in registers
    if (K == 1) return find_addresses<real>(a, std::integral_constant<int64_t, 1>{});
    if (K == 2) return find_addresses<real>(a, std::integral_constant<int64_t, 2>{});
    if (K == 4) return find_addresses<real>(a, std::integral_constant<int64_t, 4>{});
    if (K == 8) return find_addresses<real>(a, std::integral_constant<int64_t, 8>{});
  }
  find_addresses<real>(a, K);
}

// The gradients of one token in one head, given those of the scores of its cells.
template <class real>
class TokenBackward {
  using V = vec<real>;

 public:
  const int64_t A, U, every, stride;  // codes of a head, and numbers from one code to the next

  explicit TokenBackward(const ProductKeysBackward& a)
      : A(a.A), U(a.U), every(std::accumulate(a.sizes, a.sizes + a.U, int64_t{0})),
        stride((a.A + lanes<real> - 1) / lanes<real> * lanes<real>), sizes_(a.sizes),
        place_(std::max(a.writes, a.reads)), cell_(std::max(a.writes, a.reads)), grad_(stride) {}

  // query (U, A); K cells and the gradients of their scores; the head's codes (every, stride), unit
  // vectors -> grad_query (U, A); returns the gradient of the logarithm of the scores' factor
  real run(const real* query, int64_t K, const int64_t* cells, const real* grad,
           const real* codes, real* grad_query) {
    for (int64_t k = 0; k < K; ++k) cell_[k] = (double)cells[k];
    real total = 0;
    int64_t row = every;
    for (int64_t u = U; u-- > 0;) {
      double n = (double)sizes_[u], inverse = 1 / n;
      row -= sizes_[u];
      for (int64_t k = 0; k < K; ++k) {
        // Exact: the half keeps the quotient further from integers than its rounding error.
        double rest = (double)(int64_t)((cell_[k] + 0.5) * inverse);
        place_[k] = (row + (int64_t)(cell_[k] - rest * n)) * stride;
        cell_[k] = rest;
      }
      total += part(query + u * A, K, grad, codes, grad_query + u * A);
    }
    return total;
  }

 private:
  real part(const real* query, int64_t K, const real* grad, const real* codes, real* grad_query) {
    V squares{}, products{};
    each_vector<real>(A, [&](int64_t a, auto n) {
      V q = load_n(query + a, n);
      squares += q * q;
    });
    real length = sum<real>(squares), scale = std::sqrt(real(A) / clamped(length));
    each_vector<real>(A, [&](int64_t a, auto n) {
      V q = load_n(query + a, n) * scale, g{};
      for (int64_t k = 0; k < K; ++k) g += grad[k] * load(codes + place_[k] + a);
      store(grad_.get() + a, g);
      products += q * g;
    });
    real along = sum<real>(products);
    real radial = length < real(1e-24) ? 0 : along / real(A);  // the length changes no score
    each_vector<real>(A, [&](int64_t a, auto n) {
      V q = load_n(query + a, n) * scale;
      store_n(grad_query + a, scale * (load(grad_.get() + a) - radial * q), n);
    });
    return along;
  }

  const int64_t* sizes_;
  Scratch<int64_t> place_;
  Scratch<double> cell_;
  Scratch<real> grad_;
};

// grad (K) of the scores, += the part through write weights: e^(score - the first score)
template <class real>
RAMGRU_INLINE void through_write(const real* weight, const real* above, int64_t K, real* grad) {
  real sum = 0;
  for (int64_t k = 1; k < K; ++k) {
    real g = weight[k] * above[k];
    grad[k] += g;
    sum += g;
  }
  grad[0] -= sum;  // the first weight is always 1
}

// The same for read weights, a softmax.
template <class real>
RAMGRU_INLINE void through_read(const real* weight, const real* above, int64_t K, real* grad) {
  real mean = 0;
  for (int64_t k = 0; k < K; ++k) mean += weight[k] * above[k];
  for (int64_t k = 0; k < K; ++k) grad[k] += weight[k] * (above[k] - mean);
}

template <class real>
void product_keys_backward(const ProductKeysBackward& a) {
  auto query = static_cast<const real*>(a.query), before = static_cast<const real*>(a.before);
  auto codes = static_cast<const real*>(a.codes);
  auto sharpness = static_cast<const real*>(a.sharpness);
  auto write_weight = static_cast<const real*>(a.write_weight);
  auto read_weight = static_cast<const real*>(a.read_weight);
  auto nothing_weight = static_cast<const real*>(a.nothing_weight);
  auto grad_write = static_cast<const real*>(a.grad_write);
  auto grad_read = static_cast<const real*>(a.grad_read);
  auto grad_query = static_cast<real*>(a.grad_query);
  auto grad_before = static_cast<real*>(a.grad_before);
  auto grad_sharpness = static_cast<real*>(a.grad_sharpness);
  int64_t T = a.T, H = a.H, W = a.W, writes = a.writes, reads = a.reads, width = a.U * a.A;
  int64_t rows = a.B * T, context = a.B * W;
  const TokenBackward<real> one(a);
  int64_t every = one.every, stride = one.stride, most = std::max(writes, reads);

  Scratch<real> unit(H * every * stride), factor(H);
  for (int64_t h = 0; h < H; ++h) factor[h] = std::exp(sharpness[h]);
  parallel(a.threads, H, [&](Work& work) {
    for (int64_t h; work.next(h);)
      for (int64_t i = h * every; i < (h + 1) * every; ++i) {
        const real* code = codes + i * a.A;
        real squares = 0;
        for (int64_t j = 0; j < a.A; ++j) squares += code[j] * code[j];
        real length = std::max(std::sqrt(squares), real(1e-12));
        for (int64_t j = 0; j < stride; ++j)
          unit[i * stride + j] = j < a.A ? code[j] / length : real(0);
      }
  });

  // Each chunk of tokens has sums of its own, which are then added in order. The number of chunks
  // follows from the shapes alone, so that the number of threads changes no bit.
  int64_t chunks = std::max<int64_t>(1, std::min<int64_t>(16, rows / 128));
  Scratch<double> grad_factor(chunks * H), grad_nothing(chunks * H * writes);
  parallel(a.threads, chunks, [&](Work& work) {
    TokenBackward<real> token(a);
    Scratch<real> grad_space(most);
    real* grad = grad_space.get();
    for (int64_t chunk; work.next(chunk);) {
      double *total = &grad_factor[chunk * H], *outside = &grad_nothing[chunk * H * writes];
      std::fill_n(total, H, 0.0);
      std::fill_n(outside, H * writes, 0.0);
      auto back = [&](int64_t b, int64_t source, int64_t h, const real* q, real* grad_q) {
        const bool* reset = a.reset == nullptr ? nullptr : a.reset + b * T;
        int64_t t = step_written(reset, T, source, a.offsets[h]);
        int64_t read = ((b * T + source) * H + h) * reads, write = ((b * T + t) * H + h) * writes;
        if (source < 0 && (t < 0 || grad_write == nullptr)) {
          std::fill_n(grad_q, width, real(0));
          return;
        }
        // Of the cells written and the cells read, one list starts with the other.
        bool written = source < 0 || (t >= 0 && writes > reads);
        int64_t K = written ? writes : reads;
        const int64_t* cells = written ? a.write_index + write : a.read_index + read;
        std::fill_n(grad, most, real(0));
        if (source >= 0 && grad_read)
          through_read(read_weight + read, grad_read + read, reads, grad);
        if (t >= 0 && grad_write)
          through_write(write_weight + write, grad_write + write, writes, grad);
        for (int64_t k = 0; k < K; ++k) grad[k] *= factor[h];
        total[h] += token.run(q, K, cells, grad, &unit[h * every * stride], grad_q);
      };
      for (int64_t row = rows * chunk / chunks; row < rows * (chunk + 1) / chunks; ++row)
        for (int64_t h = 0, b = row / T, t = row % T; h < H; ++h) {
          int64_t at = row * H + h, offset = a.offsets[h];
          back(b, t, h, query + at * width, grad_query + at * width);
          if (a.reset && grad_write && step_written(a.reset + b * T, T, t - offset, offset) < 0)
            for (int64_t k = 0; k < writes; ++k)
              outside[h * writes + k] += grad_write[at * writes + k];
        }
      for (int64_t row = context * chunk / chunks; row < context * (chunk + 1) / chunks; ++row)
        for (int64_t h = 0; h < H; ++h) {
          int64_t at = (row * H + h) * width;
          back(row / W, row % W - W, h, before + at, grad_before + at);
        }
    }
  });

  for (int64_t h = 0; h < H; ++h) {
    double total = 0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      total += grad_factor[chunk * H + h];
      for (int64_t k = 0; k < writes && a.reset; ++k) {  // a weight is e^(factor x a difference)
        double weight = nothing_weight[h * writes + k];
        if (weight > 0)
          total += grad_nothing[(chunk * H + h) * writes + k] * weight * std::log(weight);
      }
    }
    grad_sharpness[h] = (real)total;
  }
}

}  // namespace RAMGRU_ISA
}  // namespace ramgru
