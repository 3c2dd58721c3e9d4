// Product keys: the K nearest of the N = n_1 ... n_U cells of each head, for a query of U parts.
//
// The scores of a part are its dot products with n_u unit codes, always summed in the same order:
// a query has the same address to the last bit, alone or in a batch. Blocks of tokens are scored
// with a token in each lane of a vector, single tokens with a code in each lane. Among equal scores
// the lower code comes first.
#pragma once

#include <algorithm>
#include <limits>

#include "../native/scratch.h"
#include "../native/simd.h"

namespace ramgru {
inline namespace RAMGRU_ISA {

constexpr int64_t code_tile = RAMGRU_VECTOR_BYTES == 64 ? 8 : 4;  // codes scored at once,
constexpr int64_t token_vectors = 2;                              // for this many vectors
template <class real>
constexpr int64_t token_tile = token_vectors * lanes<real>;

template <class real>
RAMGRU_INLINE real clamped(real squared_length) {
  return squared_length < real(1e-24) ? real(1e-24) : squared_length;  // NaN passes through
}

// The codes of all heads, normalised and transposed: A rows of n codes for a head and part, padded
// with zeros to whole tiles.
template <class real>
class PackedCodes {
 public:
  const int64_t H, A, U;

  PackedCodes(int64_t H, int64_t A, int64_t U, const int64_t* sizes)
      : H(H), A(A), U(U), sizes_(sizes), place_(U + 1) {
    place_[0] = 0;
    for (int64_t u = 0; u < U; ++u) place_[u + 1] = place_[u] + A * stride(u);
    data_.reserve(H * place_[U]);
  }

  // codes (n_u, A) of one head and part
  void pack(int64_t h, int64_t u, const real* codes) {
    int64_t n = sizes_[u], stride = this->stride(u);
    real* packed = data_.get() + h * place_[U] + place_[u];
    for (int64_t first = 0; first < stride; first += lanes<real>) {
      real scale[lanes<real>] = {};
      int64_t count = std::max<int64_t>(0, std::min(lanes<real>, n - first));
      for (int64_t i = 0; i < count; ++i) {
        vec<real> squares{};
        each_vector<real>(A, [&](int64_t a, auto size) {
          vec<real> code = load_n(codes + (first + i) * A + a, size);
          squares += code * code;
        });
        scale[i] = 1 / std::max(std::sqrt(sum<real>(squares)), real(1e-12));
      }
      for (int64_t a = 0; a < A; a += lanes<real>) {
        vec<real> block[lanes<real>] = {};
        int64_t size = std::min(lanes<real>, A - a);
        for (int64_t i = 0; i < count; ++i)
          block[i] = load(codes + (first + i) * A + a, size) * scale[i];
        transpose<real>(block);
        for (int64_t i = 0; i < size; ++i) store(packed + (a + i) * stride + first, block[i]);
      }
    }
  }

  const real* part(int64_t h, int64_t u) const { return data_.get() + h * place_[U] + place_[u]; }
  int64_t size(int64_t u) const { return sizes_[u]; }
  int64_t stride(int64_t u) const {
    constexpr int64_t whole = std::max(lanes<real>, code_tile);
    return (sizes_[u] + whole - 1) / whole * whole;
  }
  double cells() const {
    double product = 1;
    for (int64_t u = 0; u < U; ++u) product *= (double)sizes_[u];
    return product;
  }
  int64_t longest() const {
    int64_t most = 0;
    for (int64_t u = 0; u < U; ++u) most = std::max(most, stride(u));
    return most;
  }

 private:
  const int64_t* sizes_;
  Scratch<int64_t> place_;
  Scratch<real> data_;
};

// The address of one token in one head, from the nearest cell on: the first `writes` of the cells
// are written and the first `reads` are read, or all cells of a memory that has fewer.
template <class real>
class TokenAddress {
 public:
  TokenAddress(const PackedCodes<real>& codes, int64_t writes, int64_t reads)
      : codes_(codes), writes_(writes), reads_(reads), K_(std::max(writes, reads)),
        scores_(codes.longest()), value_(3 * (K_ + lanes<real>)), spread_(codes.A * lanes<real>),
        cell_(3 * K_), read_(reads) {}

  int64_t writes() const { return std::min(writes_, found_); }
  int64_t reads() const { return std::min(reads_, found_); }
  const int64_t* cell() const { return cell_.get(); }
  const real* write() const { return value_.get(); }
  const real* read() const { return read_.get(); }

  // query (U, A)
  void find(int64_t h, const real* query, real sharpness) {
    real *value = value_.get(), *more = value + K_ + lanes<real>, *sum = more + K_ + lanes<real>;
    int64_t *cell = cell_.get(), *digit = cell + K_, *merged = digit + K_;
    found_ = best(h, 0, query, value, cell);
    for (int64_t u = 1; u < codes_.U; ++u) {
      int64_t n = codes_.size(u), count = best(h, u, query, more, digit);
      int64_t size = std::min(K_, found_ * count);
      start(sum, merged, size);
      // The sum (i, j) is at most the (i + 1) (j + 1)-th largest, so most sums need no look.
      for (int64_t i = 0; i < found_; ++i)
        for (int64_t j = 0; j < count && (i + 1) * (j + 1) <= K_; ++j)
          insert(sum, merged, size, value[i] + more[j], cell[i] * n + digit[j]);
      std::memcpy(value, sum, size * sizeof(real));
      std::memcpy(cell, merged, size * sizeof(int64_t));
      found_ = size;
    }
    weigh(std::exp(sharpness));
  }

 private:
  static void start(real* value, int64_t* cell, int64_t size) {
    for (int64_t k = 0; k < size; ++k) {
      value[k] = -std::numeric_limits<real>::infinity();
      cell[k] = k;
    }
  }

  static void insert(real* value, int64_t* cell, int64_t size, real x, int64_t i) {
    int64_t k = size;
    for (; k > 0 && x > value[k - 1]; --k)
      if (k < size) {
        value[k] = value[k - 1];
        cell[k] = cell[k - 1];
      }
    if (k < size) {
      value[k] = x;
      cell[k] = i;
    }
  }

  int64_t best(int64_t h, int64_t u, const real* query, real* value, int64_t* cell) {
    using V = vec<real>;
    constexpr int64_t group = 4;  // sums at once
    int64_t A = codes_.A, n = codes_.size(u), stride = codes_.stride(u);
    const real *q = query + u * A, *codes = codes_.part(h, u);
    for (int64_t first = 0; first < stride; first += group * lanes<real>) {
      int64_t vectors = std::min(group, (stride - first) / lanes<real>);
      V total[group] = {};
      if (vectors == group)
        for (int64_t a = 0; a < A; ++a)
          for (int64_t i = 0; i < group; ++i)
            total[i] += q[a] * load(codes + a * stride + first + i * lanes<real>);
      else
        for (int64_t i = 0; i < vectors; ++i)
          for (int64_t a = 0; a < A; ++a)
            total[i] += q[a] * load(codes + a * stride + first + i * lanes<real>);
      for (int64_t i = 0; i < vectors; ++i)
        store(scores_.get() + first + i * lanes<real>, total[i]);
    }
    int64_t size = std::min(K_, n);
    start(value, cell, size);
    for (int64_t i = 0; i < n; ++i) insert(value, cell, size, scores_[i], i);
    // Squared as vectors from memory, as in a block: compilers may round scalars differently.
    for (int64_t a = 0; a < A; ++a) store(spread_.get() + a * lanes<real>, broadcast(q[a]));
    keep_rounded(spread_.get());
    V squares{};
    for (int64_t a = 0; a < A; ++a) {
      V x = load(spread_.get() + a * lanes<real>);
      squares += x * x;
    }
    real scale = std::sqrt(real(A) / clamped<real>(squares[0]));
    for (int64_t k = 0; k < size; ++k) value[k] *= scale;
    keep_rounded(value);
    return size;
  }

  void weigh(real factor) {
    real *value = value_.get(), highest = value[0], sum = 0;
    for (int64_t k = 0; k < found_; k += lanes<real>) {  // nothing after the last is read
      vec<real> below = load(value + k, std::min(lanes<real>, found_ - k)) - highest;
      store(value + k, exp(below * factor));
    }
    for (int64_t k = 0; k < reads(); ++k) sum += value[k];
    for (int64_t k = 0; k < reads(); ++k) read_[k] = value[k] / sum;
  }

  const PackedCodes<real>& codes_;
  int64_t writes_, reads_, K_, found_ = 0;
  Scratch<real> scores_, value_, spread_;
  Scratch<int64_t> cell_;
  Scratch<real> read_;
};

// The addresses of a block of tokens in one head, one token in each lane.
template <class real, class Size>
class BlockAddress {
  using V = vec<real>;
  using I = mask<real>;
  using integer = std::conditional_t<sizeof(real) == 4, std::int32_t, std::int64_t>;

 public:
  BlockAddress(const PackedCodes<real>& codes, Size K, int64_t reads)
      : codes_(codes), K_(K), reads_(reads), tokens_(codes.U * codes.A * token_tile<real>),
        lists_(3 * token_vectors * K), cells_(3 * token_vectors * K) {}

  // Whether an integer of a lane can number so many cells.
  static bool holds(double cells) { return cells <= (double)std::numeric_limits<integer>::max(); }

  // query[i] (U, A) of tokens 0 <= i < count; then `each(i, address)` for each of them
  template <class Each>
  void find(int64_t h, const real* const* query, int64_t count, real sharpness, Each&& each) {
    turn(query, count);
    int64_t list = token_vectors * K_, found = 0;
    V *value = lists_.get(), *more = value + list, *sum = more + list;
    I *cell = cells_.get(), *digit = cell + list, *merged = digit + list;
    for (int64_t u = 0; u < codes_.U; ++u) {
      int64_t n = codes_.size(u), size = std::min<int64_t>(K_, n);
      if (u == 0) {
        best(h, u, value, cell);
        found = size;
        continue;
      }
      best(h, u, more, digit);
      for (int64_t v = 0; v < token_vectors; ++v)
        merge(value + v * K_, cell + v * K_, found, more + v * K_, digit + v * K_, size, (int)n,
              sum + v * K_, merged + v * K_);
      std::swap(value, sum);
      std::swap(cell, merged);
      found = std::min<int64_t>(K_, found * size);
    }
    real factor = std::exp(sharpness);
    for (int64_t v = 0; v < token_vectors && v * lanes<real> < count; ++v) {
      V *w = value + v * K_, *r = more + v * K_, total{}, highest = w[0];
      for (int64_t k = 0; k < found; ++k) w[k] = exp((w[k] - highest) * factor);
      for (int64_t k = 0; k < reads_; ++k) total += w[k];
      for (int64_t k = 0; k < reads_; ++k) r[k] = w[k] / total;
      for (int64_t i = 0; i < lanes<real> && v * lanes<real> + i < count; ++i)
        each(v * lanes<real> + i, reinterpret_cast<const integer*>(cell + v * K_) + i,
             reinterpret_cast<const real*>(w) + i, reinterpret_cast<const real*>(r) + i);
    }
  }

 private:
  // tokens_ (U·A, token_tile)
  void turn(const real* const* query, int64_t count) {
    int64_t rows = codes_.U * codes_.A;
    for (int64_t v = 0; v < token_vectors; ++v)
      each_vector<real>(rows, [&](int64_t a, auto n) {
        V block[lanes<real>];
        for (int64_t i = 0; i < lanes<real>; ++i) {
          int64_t token = v * lanes<real> + i;
          block[i] = token < count ? load_n(query[token] + a, n) : V{};
        }
        transpose<real>(block);
        for (int64_t i = 0; i < n; ++i)
          store(tokens_.get() + (a + i) * token_tile<real> + v * lanes<real>, block[i]);
      });
  }

  // The K best codes of one part, with scores for a query of length sqrt(A).
  void best(int64_t h, int64_t u, V* value, I* cell) {
    int64_t A = codes_.A, n = codes_.size(u), stride = codes_.stride(u);
    const real *tokens = tokens_.get() + u * A * token_tile<real>, *codes = codes_.part(h, u);
    for (int64_t v = 0; v < token_vectors; ++v) start(value + v * K_, cell + v * K_);
    for (int64_t first = 0; first < n; first += code_tile) {
      V total[code_tile][token_vectors];
      for (auto& sums : total)
        for (V& sum : sums) sum = V{};
      for (int64_t a = 0; a < A; ++a) {
        V token[token_vectors];
        for (int64_t v = 0; v < token_vectors; ++v)
          token[v] = load(tokens + a * token_tile<real> + v * lanes<real>);
        for (int64_t i = 0; i < code_tile; ++i)
          for (int64_t v = 0; v < token_vectors; ++v)
            total[i][v] += codes[a * stride + first + i] * token[v];
      }
      int64_t count = std::min(code_tile, n - first);
      for (int64_t v = 0; v < token_vectors; ++v)
        insert_all(value + v * K_, cell + v * K_, [&](auto&& insert) {
          for (int64_t i = 0; i < count; ++i) insert(total[i][v], I{} + (integer)(first + i));
        });
    }
    for (int64_t v = 0; v < token_vectors; ++v) {
      V length{};
      for (int64_t a = 0; a < A; ++a) {
        V x = load(tokens + a * token_tile<real> + v * lanes<real>);
        length += x * x;
      }
      alignas(64) real scale[lanes<real>];
      store(scale, length);
      for (real& s : scale) s = std::sqrt(real(A) / clamped(s));
      for (int64_t k = 0; k < K_; ++k) value[v * K_ + k] *= load(scale);
    }
    keep_rounded(value);
  }

  void start(V* value, I* cell) {
    for (int64_t k = 0; k < K_; ++k) {
      value[k] = broadcast(-std::numeric_limits<real>::infinity());
      cell[k] = I{} + (integer)k;
    }
  }

  void merge(const V* value, const I* cell, int64_t size, const V* more, const I* digit,
             int64_t count, int n, V* sum, I* merged) {
    start(sum, merged);
    insert_all(sum, merged, [&](auto&& insert) {
      // The sum (i, j) is at most the (i + 1) (j + 1)-th largest, so most sums need no look.
      for (int64_t i = 0; i < size; ++i)
        for (int64_t j = 0; j < count && (i + 1) * (j + 1) <= K_; ++j)
          insert(value[i] + more[j], cell[i] * n + digit[j]);
    });
  }

  // body(insert), where insert(x, i) puts i into the list of each lane that x belongs in
  template <class Body>
  RAMGRU_INLINE void insert_all(V* value, I* cell, Body&& body) {
    if constexpr (std::is_same_v<Size, int64_t>) {
      body([&](V x, I i) { insert(value, cell, x, i); });
    } else {  // in registers
      V v[Size::value];
      I c[Size::value];
      for (int64_t k = 0; k < K_; ++k) v[k] = value[k], c[k] = cell[k];
      body([&](V x, I i) { insert(v, c, x, i); });
      for (int64_t k = 0; k < K_; ++k) value[k] = v[k], cell[k] = c[k];
    }
  }

  RAMGRU_INLINE void insert(V* value, I* cell, V x, I i) {
#pragma GCC unroll 8
    for (int64_t k = K_ - 1; k > 0; --k) {
      I above = x > value[k - 1], here = x > value[k];
      value[k] = above ? value[k - 1] : here ? x : value[k];
      cell[k] = above ? cell[k - 1] : here ? i : cell[k];
    }
    I here = x > value[0];
    value[0] = here ? x : value[0];
    cell[0] = here ? i : cell[0];
  }

  const PackedCodes<real>& codes_;
  Size K_;
  int64_t reads_;
  Scratch<real> tokens_;
  Scratch<V> lists_;
  Scratch<I> cells_;
};

}  // namespace RAMGRU_ISA
}  // namespace ramgru
