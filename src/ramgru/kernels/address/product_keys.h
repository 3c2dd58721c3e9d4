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

// A source is a step whose query is scored: one of the T steps of a sequence, or of the W steps of
// context before them, which have negative numbers. A head reads at the source of the same step and
// writes at the source `offset` steps before.
struct Source {
  int64_t b, step;

  template <class Arguments>
  Source(const Arguments& a, int64_t i) : b(i / (a.W + a.T)), step(i % (a.W + a.T) - a.W) {}
  Source() = default;

  // The (U, A) numbers of head h: of (B, T, H, U, A), or of (B, W, H, U, A) for the context.
  template <class real, class Arguments>
  real* row(const Arguments& a, real* steps, real* context, int64_t h) const {
    int64_t at = step < 0 ? b * a.W + a.W + step : b * a.T + step;
    return (step < 0 ? context : steps) + (at * a.H + h) * a.U * a.A;
  }
};

constexpr int64_t source_chunk = 128;  // sources of a work item: they stay in the cache

// The step at which a head writes the cells of a source, or -1: `offset` steps later, unless that is
// none of the T steps, or a sequence starts anew after the source and not after that step.
template <class Arguments>
int64_t step_written(const Arguments& a, const Source& source, int64_t offset) {
  int64_t t = source.step + offset;
  if (t < 0 || t >= a.T) return -1;
  if (a.reset != nullptr)
    for (int64_t s = std::max<int64_t>(source.step + 1, 0); s <= t; ++s)
      if (a.reset[source.b * a.T + s]) return -1;
  return t;
}

// Whether a step of a head writes the cells of `nothing`, as a sequence starts anew after its source.
template <class Arguments>
bool writes_nothing(const Arguments& a, Source step, int64_t offset) {
  if (a.reset == nullptr || step.step < 0) return false;
  step.step -= offset;
  return step_written(a, step, offset) < 0;
}

template <class real, class Size>
void find_addresses(const ProductKeysForward& a, Size K) {
  auto query = static_cast<const real*>(a.query), before = static_cast<const real*>(a.before);
  auto nothing = static_cast<const real*>(a.nothing);
  auto sharpness = static_cast<const real*>(a.sharpness);
  auto write_weight = static_cast<real*>(a.write_weight);
  auto read_weight = static_cast<real*>(a.read_weight);
  auto nothing_weight = static_cast<real*>(a.nothing_weight);
  int64_t T = a.T, H = a.H, writes = a.writes, reads = a.reads, sources = a.B * (a.W + T);
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
      address.find(h, nothing + h * a.U * a.A, sharpness[h]);
      std::memcpy(a.nothing_index + h * writes, address.cell(), writes * sizeof(int64_t));
      std::memcpy(nothing_weight + h * writes, address.write(), writes * sizeof(real));
    }
  }

  auto put = [&](int64_t h, const Source& source, auto cell, auto write, auto read,
                 int64_t stride) {
    int64_t t = step_written(a, source, a.offsets[h]);
    if (t >= 0)
      for (int64_t k = 0, slot = ((source.b * T + t) * H + h) * writes; k < writes; ++k) {
        a.write_index[slot + k] = cell[k * stride];
        write_weight[slot + k] = write[k * stride];
      }
    if (source.step >= 0)
      for (int64_t k = 0, slot = ((source.b * T + source.step) * H + h) * reads; k < reads; ++k) {
        a.read_index[slot + k] = cell[k * stride];
        read_weight[slot + k] = read[k * stride];
      }
  };

  parallel(a.threads, (sources + source_chunk - 1) / source_chunk, [&](Work& work) {
    BlockAddress<real, Size> block(codes, K, reads);
    TokenAddress<real> alone(codes, writes, reads);
    Source chunk[source_chunk], used[source_chunk];
    const real* queries[token_tile<real>];
    for (int64_t item; work.next(item);) {
      int64_t begin = item * source_chunk, all = std::min(source_chunk, sources - begin);
      for (int64_t i = 0; i < all; ++i) chunk[i] = Source(a, begin + i);
      for (int64_t h = 0; h < H; ++h) {
        int64_t size = 0, offset = a.offsets[h];
        for (int64_t i = 0; i < all; ++i) {
          const Source& source = chunk[i];
          if (source.step >= -offset) used[size++] = source;
          if (!writes_nothing(a, source, offset)) continue;
          int64_t slot = ((source.b * T + source.step) * H + h) * writes;
          std::memcpy(a.write_index + slot, a.nothing_index + h * writes, writes * sizeof(int64_t));
          std::memcpy(write_weight + slot, nothing_weight + h * writes, writes * sizeof(real));
        }
        for (int64_t first = 0; first < size; first += token_tile<real>) {
          int64_t count = std::min(token_tile<real>, size - first);
          const Source* tile = used + first;
          for (int64_t i = 0; i < count; ++i) queries[i] = tile[i].row(a, query, before, h);
          if (count > lanes<real> / 4 && BlockAddress<real, Size>::holds(codes.cells()))
            block.find(h, queries, count, sharpness[h],
                       [&](int64_t i, auto cell, auto write, auto read) {
                         put(h, tile[i], cell, write, read, lanes<real>);
                       });
          else
            for (int64_t i = 0; i < count; ++i) {
              alone.find(h, queries[i], sharpness[h]);
              put(h, tile[i], alone.cell(), alone.write(), alone.read(), 1);
            }
        }
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
  int64_t T = a.T, H = a.H, writes = a.writes, reads = a.reads, sources = a.B * (a.W + T);
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

  // Each chunk of sources has sums of its own, which are then added in order. The number of chunks
  // follows from the shapes alone, so that the number of threads changes no bit.
  int64_t chunks = std::max<int64_t>(1, std::min<int64_t>(16, sources / source_chunk));
  Scratch<double> grad_factor(chunks * H), grad_nothing(chunks * H * writes);
  parallel(a.threads, chunks, [&](Work& work) {
    TokenBackward<real> token(a);
    Scratch<real> grad_space(most);
    real* grad = grad_space.get();
    for (int64_t chunk; work.next(chunk);) {
      double *total = &grad_factor[chunk * H], *outside = &grad_nothing[chunk * H * writes];
      std::fill_n(total, H, 0.0);
      std::fill_n(outside, H * writes, 0.0);
      for (int64_t i = sources * chunk / chunks; i < sources * (chunk + 1) / chunks; ++i) {
        Source source(a, i);
        for (int64_t h = 0; h < H; ++h) {
          int64_t t = step_written(a, source, a.offsets[h]);
          int64_t here = (source.b * T + source.step) * H + h;
          int64_t read = here * reads, write = ((source.b * T + t) * H + h) * writes;
          bool is_read = source.step >= 0, is_written = t >= 0 && grad_write != nullptr;
          real* grad_q = source.row(a, grad_query, grad_before, h);
          if (!is_read && !is_written) {
            std::fill_n(grad_q, a.U * a.A, real(0));
            continue;
          }
          std::fill_n(grad, most, real(0));
          if (is_read && grad_read)
            through_read(read_weight + read, grad_read + read, reads, grad);
          if (is_written) through_write(write_weight + write, grad_write + write, writes, grad);
          // Of the cells written and the cells read, one list starts with the other.
          bool written = !is_read || (t >= 0 && writes > reads);
          int64_t K = written ? writes : reads;
          const int64_t* cells = written ? a.write_index + write : a.read_index + read;
          for (int64_t k = 0; k < K; ++k) grad[k] *= factor[h];
          total[h] += token.run(source.row(a, query, before, h), K, cells, grad,
                                &unit[h * every * stride], grad_q);
          if (grad_write && writes_nothing(a, source, a.offsets[h]))
            for (int64_t k = 0; k < writes; ++k)
              outside[h * writes + k] += grad_write[here * writes + k];
        }
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
