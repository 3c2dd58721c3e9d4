// The cells that all steps and heads write and read, scored once, and the gradient of the sharpness.
#pragma once

#include <algorithm>

#include "../native/parallel.h"
#include "../native/scratch.h"
#include "../native/simd.h"
#include "nearest.h"

namespace ramgru {

struct ProductKeysForward {
  std::int64_t bytes, threads;
  std::int64_t B, T, H, A, F, U, W, writes, reads;  // at most the number of cells
  const void* key;                          // (B, T, H, A)
  const void* before;                       // (B, W, H, A) the W steps before the first
  const void* features;                     // of `Hash`
  const void* codes;
  const void* sharpness;                    // (H) the logarithm of the scores' factor
  const bool* reset;                        // (B, T) or null
  const std::int64_t* sizes;                // (U) n_1 ... n_U
  const std::int64_t* offsets;              // (H) at most W
  std::int64_t* write_index;                // (B, T, H, writes)
  void* write_weight;
  std::int64_t* read_index;                 // (B, T, H, reads)
  void* read_weight;
};

struct ProductKeysBackward {
  std::int64_t bytes, threads;
  std::int64_t rows, H, writes, reads;      // rows = B T
  const void* write_weight;                 // (rows, H, writes)
  const void* read_weight;                  // (rows, H, reads)
  const void* grad_write;                   // of the weights, or null
  const void* grad_read;
  void* grad_sharpness;                     // (H)
};

inline namespace RAMGRU_ISA {

// A source is a step whose key is hashed: one of the T steps of a sequence, or of the W steps of
// context before them, which have negative numbers. A head reads at the source of the same step and
// writes at the source `offset` steps before.
struct Source {
  int64_t b, step;

  Source(const ProductKeysForward& a, int64_t i) : b(i / (a.W + a.T)), step(i % (a.W + a.T) - a.W) {}
  Source() = default;

  // The (A,) numbers of head h: of (B, T, H, A), or of (B, W, H, A) for the context.
  template <class real>
  const real* row(const ProductKeysForward& a, const real* steps, const real* context,
                  int64_t h) const {
    int64_t at = step < 0 ? b * a.W + a.W + step : b * a.T + step;
    return (step < 0 ? context : steps) + (at * a.H + h) * a.A;
  }
};

constexpr int64_t source_chunk = 128;  // sources of a work item: they stay in the cache

// The step at which a head writes the cells of a source, or -1: `offset` steps later, unless that is
// none of the T steps, or a sequence starts anew after the source and not after that step.
inline int64_t step_written(const ProductKeysForward& a, const Source& source, int64_t offset) {
  int64_t t = source.step + offset;
  if (t < 0 || t >= a.T) return -1;
  if (a.reset != nullptr)
    for (int64_t s = std::max<int64_t>(source.step + 1, 0); s <= t; ++s)
      if (a.reset[source.b * a.T + s]) return -1;
  return t;
}

// Whether a step writes the cells of the zero key, because a sequence starts anew after its source.
inline bool writes_zero_key(const ProductKeysForward& a, Source step, int64_t offset) {
  if (a.reset == nullptr || step.step < 0) return false;
  step.step -= offset;
  return step_written(a, step, offset) < 0;
}

template <class real, class Size>
void find_addresses(const ProductKeysForward& a, Size K) {
  auto key = static_cast<const real*>(a.key), before = static_cast<const real*>(a.before);
  auto sharpness = static_cast<const real*>(a.sharpness);
  auto write_weight = static_cast<real*>(a.write_weight);
  auto read_weight = static_cast<real*>(a.read_weight);
  int64_t T = a.T, H = a.H, writes = a.writes, reads = a.reads, sources = a.B * (a.W + T);
  Hash<real> hash(H, a.A, a.F, a.U, a.sizes, a.features, a.codes);
  Scratch<int64_t> zero_index(a.reset ? H * writes : 0);  // the cells of the zero key
  Scratch<real> zero_weight(a.reset ? H * writes : 0), zero(a.A);
  if (a.reset != nullptr) {
    std::fill_n(zero.get(), a.A, real(0));
    TokenAddress<real> address(hash, writes, reads);
    for (int64_t h = 0; h < H; ++h) {
      address.find(h, zero.get(), sharpness[h]);
      std::copy_n(address.cell(), writes, &zero_index[h * writes]);
      std::copy_n(address.write(), writes, &zero_weight[h * writes]);
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
    BlockAddress<real, Size> block(hash, K, reads);
    TokenAddress<real> alone(hash, writes, reads);
    Source chunk[source_chunk], used[source_chunk];
    const real* keys[token_tile<real>];
    for (int64_t item; work.next(item);) {
      int64_t begin = item * source_chunk, all = std::min(source_chunk, sources - begin);
      for (int64_t i = 0; i < all; ++i) chunk[i] = Source(a, begin + i);
      for (int64_t h = 0; h < H; ++h) {
        int64_t size = 0, offset = a.offsets[h];
        for (int64_t i = 0; i < all; ++i) {
          const Source& source = chunk[i];
          if (source.step >= -offset) used[size++] = source;
          if (!writes_zero_key(a, source, offset)) continue;
          int64_t slot = ((source.b * T + source.step) * H + h) * writes;
          std::copy_n(&zero_index[h * writes], writes, a.write_index + slot);
          std::copy_n(&zero_weight[h * writes], writes, write_weight + slot);
        }
        for (int64_t first = 0; first < size; first += token_tile<real>) {
          int64_t count = std::min(token_tile<real>, size - first);
          const Source* tile = used + first;
          for (int64_t i = 0; i < count; ++i) {
            keys[i] = tile[i].row(a, key, before, h);
            if (tile[i].step < 0) continue;
            int64_t at = (tile[i].b * T + tile[i].step) * H + h;  // about where `put` writes
            prefetch<true>(a.write_index + at * writes, writes);
            prefetch<true>(write_weight + at * writes, writes);
            prefetch<true>(a.read_index + at * reads, reads);
            prefetch<true>(read_weight + at * reads, reads);
          }
          if (count > lanes<real> / 4 && BlockAddress<real, Size>::holds(hash.cells()))
            block.find(h, keys, count, sharpness[h],
                       [&](int64_t i, auto cell, auto write, auto read) {
                         put(h, tile[i], cell, write, read, lanes<real>);
                       });
          else
            for (int64_t i = 0; i < count; ++i) {
              alone.find(h, keys[i], sharpness[h]);
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
    if (K == 16) return find_addresses<real>(a, std::integral_constant<int64_t, 16>{});
  }
  find_addresses<real>(a, K);
}

// The weights of a row are functions of e^sharpness times its scores, and all that counts of the
// scores can be read off the weights: log w of a write, and log r of a read up to a constant.
template <class real>
void product_keys_backward(const ProductKeysBackward& a) {
  auto write_weight = static_cast<const real*>(a.write_weight);
  auto read_weight = static_cast<const real*>(a.read_weight);
  auto grad_write = static_cast<const real*>(a.grad_write);
  auto grad_read = static_cast<const real*>(a.grad_read);
  auto grad_sharpness = static_cast<real*>(a.grad_sharpness);
  auto part = [](vec<real> weight) { return weight > 0 ? weight * log(weight) : weight; };
  // Each chunk of rows has sums of its own, which are then added in order, so that the number of
  // threads changes no bit.
  constexpr int64_t chunk_rows = 256;
  int64_t chunks = (a.rows + chunk_rows - 1) / chunk_rows;
  Scratch<double> sums(chunks * a.H);
  parallel(a.threads, chunks, [&](Work& work) {
    for (int64_t chunk; work.next(chunk);) {
      double* total = &sums[chunk * a.H];
      std::fill_n(total, a.H, 0.0);
      int64_t end = std::min(a.rows, (chunk + 1) * chunk_rows);
      for (int64_t row = chunk * chunk_rows * a.H; row < end * a.H; ++row) {
        vec<real> along{}, products{};
        if (grad_write)  // the first weight is always 1, whose logarithm is 0
          each_vector<real>(a.writes, [&](int64_t k, auto n) {
            along += load_n(grad_write + row * a.writes + k, n) *
                     part(load_n(write_weight + row * a.writes + k, n));
          });
        if (grad_read && a.reads > 1) {
          const real *g = grad_read + row * a.reads, *r = read_weight + row * a.reads;
          each_vector<real>(a.reads, [&](int64_t k, auto n) {
            products += load_n(g + k, n) * load_n(r + k, n);
          });
          real mean = sum<real>(products);
          each_vector<real>(a.reads, [&](int64_t k, auto n) {
            along += (load_n(g + k, n) - mean) * part(load_n(r + k, n));
          });
        }
        total[row % a.H] += sum<real>(along);
      }
    }
  });
  for (int64_t h = 0; h < a.H; ++h) {
    double total = 0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) total += sums[chunk * a.H + h];
    grad_sharpness[h] = (real)total;
  }
}

}  // namespace RAMGRU_ISA
}  // namespace ramgru
