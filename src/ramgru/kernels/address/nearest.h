// Product keys: the K nearest of the N = n_1 ... n_U cells of each head, for a key of A numbers.
//
// A key of any length is brought to the length sqrt(A) and then turned into a query: U parts of F
// random features, cos(features u + phases) - centre. The scores of a part are its dot products with n_u
// codes of length 1. All sums have one order: a key has the same address to the last bit, alone or
// in a batch. Blocks of tokens are scored with a token in each lane of a vector, single tokens with
// a feature or a code in each lane. Among equal scores the lower code comes first.
#pragma once

#include <algorithm>
#include <limits>

#include "../native/scratch.h"
#include "../native/simd.h"
#include "largest.h"
#include "unit.h"

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

// The frozen hash of all heads, as `cpu.packed` lays it out: features and codes transposed, in rows
// of whole vectors of every instruction set.
template <class real>
class Hash {
 public:
  const int64_t H, A, F, U;

  Hash(int64_t H, int64_t A, int64_t F, int64_t U, const int64_t* sizes, const void* features,
       const void* codes)
      : H(H), A(A), F(F), U(U), sizes_(sizes), features_(static_cast<const real*>(features)),
        codes_(static_cast<const real*>(codes)), place_(U + 1) {
    place_[0] = 0;
    for (int64_t u = 0; u < U; ++u) place_[u + 1] = place_[u] + F * stride(u);
  }

  // A rows, one for each number of a key, a row of phases and one of the centre, each of `width`
  const real* features(int64_t h) const { return features_ + h * (A + 2) * width(); }
  int64_t width() const { return whole(U * F); }
  // F rows, one for each feature, of `stride` codes
  const real* codes(int64_t h, int64_t u) const { return codes_ + h * place_[U] + place_[u]; }
  int64_t size(int64_t u) const { return sizes_[u]; }
  int64_t stride(int64_t u) const { return whole(sizes_[u]); }
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
  static int64_t whole(int64_t n) { return (n + 15) / 16 * 16; }

  const int64_t* sizes_;
  const real *features_, *codes_;
  Scratch<int64_t> place_;
};

// The address of one token in one head, from the nearest cell on: the first `writes` of the cells
// are written and the first `reads` are read, or all cells of a memory that has fewer.
template <class real>
class TokenAddress {
 public:
  TokenAddress(const Hash<real>& hash, int64_t writes, int64_t reads)
      : hash_(hash), writes_(writes), reads_(reads), K_(std::max(writes, reads)),
        query_(hash.width()), scores_(hash.longest()), unit_(hash.A), value_(2 * (K_ + lanes<real>)),
        spread_(std::max(hash.A, hash.F) * lanes<real>), cell_(2 * K_ + sums(K_)), read_(reads),
        largest_(K_) {}

  int64_t writes() const { return std::min(writes_, found_); }
  int64_t reads() const { return std::min(reads_, found_); }
  const int64_t* cell() const { return cell_.get(); }
  const real* write() const { return value_.get(); }
  const real* read() const { return read_.get(); }
  const real* unit() const { return unit_.get(); }

  // For the calls of `find` from now on; at most the numbers of the constructor.
  void limit(int64_t writes, int64_t reads) {
    writes_ = writes, reads_ = reads, K_ = std::max(writes, reads);
  }

  // key (A,) -> `unit`, which `find` gives too
  const real* to_unit(const real* key) {
    int64_t A = hash_.A;
    real *unit = unit_.get(), *spread = spread_.get();  // each number in all lanes, as in a block
    for (int64_t a = 0; a < A; ++a) store(spread + a * lanes<real>, broadcast(key[a]));
    keep_rounded(spread);
    make_unit(spread, A, lanes<real>);
    for (int64_t a = 0; a < A; ++a) unit[a] = spread[a * lanes<real>];
    keep_rounded(unit);
    return unit;
  }

  void find(int64_t h, const real* key, real sharpness) {
    real *value = value_.get(), *more = value + K_ + lanes<real>;
    int64_t *cell = cell_.get(), *digit = cell + K_, *cell_of_sum = digit + K_;
    make_query(h, key);
    found_ = best(h, 0, value, cell);
    for (int64_t u = 1; u < hash_.U; ++u) {
      int64_t n = hash_.size(u), count = best(h, u, more, digit);
      int64_t size = std::min(K_, found_ * count);
      // The sum (i, j) is at most the (i + 1) (j + 1)-th largest, so most sums need no look.
      largest_.collect(size, [&](auto&& put) __attribute__((always_inline)) {
        for (int64_t i = 0, sum = 0; i < found_; ++i)
          for (int64_t j = 0; j < count && (i + 1) * (j + 1) <= K_; ++j, ++sum) {
            cell_of_sum[sum] = cell[i] * n + digit[j];
            put(value[i] + more[j], sum);
          }
      });
      for (int64_t k = 0; k < size; ++k) {
        value[k] = largest_.score(k);
        cell[k] = value[k] > largest_.none ? cell_of_sum[largest_.number(k)] : k;
      }
      found_ = size;
    }
    weigh(std::exp(sharpness));
  }

 private:
  // At least as many as pairs (i, j) with i j <= K.
  static int64_t sums(int64_t K) { return K * (64 - __builtin_clzll(K | 1)); }

  // sums[j] = start[j] + sum_i x[i] rows[i, j], with rows of `stride` numbers; start may be null
  static void products(const real* x, int64_t n, const real* rows, int64_t stride,
                       const real* start, real* sums) {
    using V = vec<real>;
    constexpr int64_t group = 4;  // sums at once
    for (int64_t first = 0; first < stride; first += group * lanes<real>) {
      int64_t vectors = std::min(group, (stride - first) / lanes<real>);
      V total[group] = {};
      for (int64_t i = 0; start && i < vectors; ++i)
        total[i] = load(start + first + i * lanes<real>);
      if (vectors == group)
        for (int64_t a = 0; a < n; ++a)
          for (int64_t i = 0; i < group; ++i)
            total[i] += x[a] * load(rows + a * stride + first + i * lanes<real>);
      else
        for (int64_t i = 0; i < vectors; ++i)
          for (int64_t a = 0; a < n; ++a)
            total[i] += x[a] * load(rows + a * stride + first + i * lanes<real>);
      for (int64_t i = 0; i < vectors; ++i) store(sums + first + i * lanes<real>, total[i]);
    }
  }

  void make_query(int64_t h, const real* key) {
    int64_t A = hash_.A, width = hash_.width();
    const real* unit = to_unit(key);
    const real *features = hash_.features(h), *phases = features + A * width;
    products(unit, A, features, width, phases, query_.get());
    for (int64_t q = 0; q < width; q += lanes<real>)
      store(query_.get() + q, cos(load(query_.get() + q)) - load(phases + width + q));
    keep_rounded(query_.get());
  }

  int64_t best(int64_t h, int64_t u, real* value, int64_t* cell) {
    using V = vec<real>;
    int64_t A = hash_.F, n = hash_.size(u);
    const real* q = query_.get() + u * A;
    products(q, A, hash_.codes(h, u), hash_.stride(u), nullptr, scores_.get());
    int64_t size = std::min(K_, n);
    largest_.collect_all(size, scores_.get(), n);
    for (int64_t k = 0; k < size; ++k) value[k] = largest_.score(k), cell[k] = largest_.number(k);
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

  const Hash<real>& hash_;
  int64_t writes_, reads_, K_, found_ = 0;
  Scratch<real> query_, scores_, unit_, value_, spread_;
  Scratch<int64_t> cell_;
  Scratch<real> read_;
  Largest<real> largest_;
};

// The addresses of a block of tokens in one head, one token in each lane.
template <class real, class Size>
class BlockAddress {
  using V = vec<real>;
  using I = mask<real>;
  using integer = std::conditional_t<sizeof(real) == 4, std::int32_t, std::int64_t>;

 public:
  BlockAddress(const Hash<real>& hash, Size K, int64_t reads)
      : hash_(hash), K_(K), reads_(reads), keys_(hash.A * token_tile<real>),
        tokens_(hash.width() * token_tile<real>), lists_(3 * token_vectors * K), cells_(3 * token_vectors * K) {}

  // Whether an integer of a lane can number so many cells.
  static bool holds(double cells) { return cells <= (double)std::numeric_limits<integer>::max(); }

  // key[i] (A,) of tokens 0 <= i < count; then `each(i, address)` for each of them
  template <class Each>
  void find(int64_t h, const real* const* key, int64_t count, real sharpness, Each&& each) {
    vectors_ = (count + lanes<real> - 1) / lanes<real>;
    make_queries(h, key, count);
    int64_t list = token_vectors * K_, found = 0;
    V *value = lists_.get(), *more = value + list, *sum = more + list;
    I *cell = cells_.get(), *digit = cell + list, *merged = digit + list;
    for (int64_t u = 0; u < hash_.U; ++u) {
      int64_t n = hash_.size(u), size = std::min<int64_t>(K_, n);
      if (u == 0) {
        best(h, u, value, cell);
        found = size;
        continue;
      }
      best(h, u, more, digit);
      for (int64_t v = 0; v < vectors_; ++v)
        merge(value + v * K_, cell + v * K_, found, more + v * K_, digit + v * K_, size, (int)n,
              sum + v * K_, merged + v * K_);
      std::swap(value, sum);
      std::swap(cell, merged);
      found = std::min<int64_t>(K_, found * size);
    }
    real factor = std::exp(sharpness);
    for (int64_t v = 0; v < vectors_; ++v) {
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
  // total[i][v] = start(i) + sum_a rows[a, i] x[a, v], with rows of `stride` numbers and x of
  // token_tile
  template <class Start>
  RAMGRU_INLINE void products(const real* rows, int64_t stride, const real* x, int64_t n,
                              Start&& start, V (&total)[code_tile][token_vectors]) const {
    auto of = [&](auto vectors) __attribute__((always_inline)) {
      constexpr int64_t count = vectors;
      V sum[code_tile][count];
      for (int64_t i = 0; i < code_tile; ++i)
        for (V& s : sum[i]) s = start(i);
      for (int64_t a = 0; a < n; ++a) {
        V token[count];
        for (int64_t v = 0; v < count; ++v)
          token[v] = load(x + a * token_tile<real> + v * lanes<real>);
        for (int64_t i = 0; i < code_tile; ++i)
          for (int64_t v = 0; v < count; ++v) sum[i][v] += rows[a * stride + i] * token[v];
      }
      for (int64_t i = 0; i < code_tile; ++i)
        for (int64_t v = 0; v < count; ++v) total[i][v] = sum[i][v];
    };
    if (vectors_ == token_vectors)
      of(std::integral_constant<int64_t, token_vectors>{});
    else
      of(std::integral_constant<int64_t, 1>{});
  }

  // tokens_ (U·F, token_tile)
  void make_queries(int64_t h, const real* const* key, int64_t count) {
    int64_t A = hash_.A, width = hash_.width();
    for (int64_t v = 0; v < vectors_; ++v) {
      real* keys = keys_.get() + v * lanes<real>;
      each_vector<real>(A, [&](int64_t a, auto n) {
        V block[lanes<real>];
        for (int64_t i = 0; i < lanes<real>; ++i) {
          int64_t token = v * lanes<real> + i;
          block[i] = token < count ? load_n(key[token] + a, n) : V{};
        }
        transpose<real>(block);
        for (int64_t i = 0; i < n; ++i) store(keys + (a + i) * token_tile<real>, block[i]);
      });
      make_unit(keys, A, token_tile<real>);
    }
    keep_rounded(keys_.get());
    const real *features = hash_.features(h), *phases = features + A * width;
    for (int64_t first = 0; first < hash_.U * hash_.F; first += code_tile) {
      V total[code_tile][token_vectors];
      products(features + first, width, keys_.get(), A,
               [&](int64_t i) { return broadcast(phases[first + i]); }, total);
      for (int64_t i = 0; i < code_tile; ++i)
        for (int64_t v = 0; v < vectors_; ++v)
          store(tokens_.get() + (first + i) * token_tile<real> + v * lanes<real>,
                cos(total[i][v]) - phases[width + first + i]);
    }
    keep_rounded(tokens_.get());
  }

  // The K best codes of one part, with scores for a query of length sqrt(F).
  void best(int64_t h, int64_t u, V* value, I* cell) {
    int64_t A = hash_.F, n = hash_.size(u), stride = hash_.stride(u);
    const real *tokens = tokens_.get() + u * A * token_tile<real>, *codes = hash_.codes(h, u);
    for (int64_t v = 0; v < vectors_; ++v) start(value + v * K_, cell + v * K_);
    for (int64_t first = 0; first < n; first += code_tile) {
      V total[code_tile][token_vectors];
      products(codes + first, stride, tokens, A, [](int64_t) { return V{}; }, total);
      int64_t count = std::min(code_tile, n - first);
      for (int64_t v = 0; v < vectors_; ++v)
        insert_all(value + v * K_, cell + v * K_, [&](auto&& insert) {
          for (int64_t i = 0; i < count; ++i) insert(total[i][v], I{} + (integer)(first + i), 0);
        });
    }
    for (int64_t v = 0; v < vectors_; ++v) {
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
          insert(value[i] + more[j], cell[i] * n + digit[j], (i + 1) * (j + 1) - 1);
    });
  }

  // body(insert), where insert(x, i, least) puts i into the list of each lane that x belongs in, at
  // place `least` or behind it.
  template <class Body>
  RAMGRU_INLINE void insert_all(V* value, I* cell, Body&& body) {
    if constexpr (std::is_same_v<Size, int64_t>) {
      body([&](V x, I i, int64_t least) { insert(value, cell, x, i, least, K_); });
    } else {  // in registers: a constant number of places
      constexpr int64_t K = Size::value;
      V v[K];
      I c[K];
      for (int64_t k = 0; k < K; ++k) v[k] = value[k], c[k] = cell[k];
      body([&](V x, I i, int64_t least) {
        if (K >= 8 && least >= K / 2)
          least >= K / 4 * 3 ? insert(v, c, x, i, K / 4 * 3, K) : insert(v, c, x, i, K / 2, K);
        else
          K >= 8 && least >= K / 4 ? insert(v, c, x, i, K / 4, K) : insert(v, c, x, i, 0, K);
      });
      for (int64_t k = 0; k < K; ++k) value[k] = v[k], cell[k] = c[k];
    }
  }

  static RAMGRU_INLINE void insert(V* value, I* cell, V x, I i, int64_t first, int64_t end) {
#pragma GCC unroll 16
    for (int64_t k = end - 1; k > first; --k) {
      I above = x > value[k - 1], here = x > value[k];
      value[k] = above ? value[k - 1] : here ? x : value[k];
      cell[k] = above ? cell[k - 1] : here ? i : cell[k];
    }
    I here = x > value[first];
    value[first] = here ? x : value[first];
    cell[first] = here ? i : cell[first];
  }

  const Hash<real>& hash_;
  Size K_;
  int64_t reads_, vectors_ = token_vectors;  // of the tokens that `find` looks for
  Scratch<real> keys_, tokens_;
  Scratch<V> lists_;
  Scratch<I> cells_;
};

}  // namespace RAMGRU_ISA
}  // namespace ramgru
