// The largest of many scores, in order: the list of one token lies in the lanes of a few vectors.
#pragma once

#include <algorithm>
#include <limits>

#include "../native/scratch.h"
#include "../native/simd.h"

namespace ramgru {
inline namespace RAMGRU_ISA {

template <class real>
class Largest {
  using V = vec<real>;
  using I = mask<real>;
  using integer = std::conditional_t<sizeof(real) == 4, std::int32_t, std::int64_t>;

 public:
  static constexpr real none = -std::numeric_limits<real>::infinity();

  explicit Largest(int64_t most) : score_(vectors(most)), number_(vectors(most)) {}

  // body(put), where put(x, i) puts number i into the list if its score x is among the `size`
  // largest. Of equal scores, the one that came first is the larger. Empty places, and those of NaN,
  // have a score of -inf and the number of the place.
  template <class Body>
  void collect(int64_t size, Body&& body) {
    int64_t n = vectors(size);
    for (int64_t v = 0; v < n; ++v) {
      score_[v] = broadcast(none);
      for (int64_t i = 0; i < lanes<real>; ++i) number_[v][i] = (integer)(v * lanes<real> + i);
    }
    if (n == 1) return in_registers<1>(body);
    if (n == 2) return in_registers<2>(body);
    if (n == 4) return in_registers<4>(body);
    body([&](real x, int64_t i) { put(score_.get(), number_.get(), n, x, i); });
  }
  // `collect` of scores[i] for 0 <= i < n, followed by a whole number of vectors.
  void collect_all(int64_t size, const real* scores, int64_t n) {
    real least = least_of_groups(size, scores, n);
    collect(size, [&](auto&& put) {
      for (int64_t i = 0; i < n; i += lanes<real>) {
        V x = load(scores + i);
        for (auto bits = bits_of<real>(x >= least); bits; bits &= bits - 1) {
          int64_t j = i + __builtin_ctz(bits);
          if (j < n) put(scores[j], j);
        }
      }
    });
  }

  real score(int64_t k) const { return reinterpret_cast<const real*>(score_.get())[k]; }
  int64_t number(int64_t k) const { return reinterpret_cast<const integer*>(number_.get())[k]; }

 private:
  static int64_t vectors(int64_t size) { return (size + lanes<real> - 1) / lanes<real>; }

  template <int64_t n, class Body>
  RAMGRU_INLINE void in_registers(Body&& body) {
    V score[n];
    I number[n];
    for (int64_t v = 0; v < n; ++v) score[v] = score_[v], number[v] = number_[v];
    body([&](real x, int64_t i) __attribute__((always_inline)) { put(score, number, n, x, i); });
    for (int64_t v = 0; v < n; ++v) score_[v] = score[v], number_[v] = number[v];
  }

  static RAMGRU_INLINE void put(V* score, I* number, int64_t n, real x, int64_t i) {
    constexpr auto all = std::make_integer_sequence<int, lanes<real>>{};
    for (int64_t v = n; v-- > 0;) {
      V ahead = behind<real>(v ? score[v - 1] : broadcast(-none), score[v], all);
      V numbers_ahead = behind<real>(v ? (V)number[v - 1] : V{}, (V)number[v], all);
      I moves = x > ahead, here = x > score[v];
      score[v] = moves ? ahead : here ? broadcast(x) : score[v];
      number[v] = moves ? (I)numbers_ahead : here ? I{} + (integer)i : number[v];
    }
  }

  // A bound that the `size` largest scores reach: each of at least as many groups has one that does.
  static real least_of_groups(int64_t size, const real* scores, int64_t n) {
    constexpr int64_t most = 4;
    int64_t count = vectors(size);
    if (count > most) return none;
    V largest[most];
    for (V& v : largest) v = broadcast(none);
    for (int64_t i = 0, v = 0; i < n; i += lanes<real>, v = v + 1 < count ? v + 1 : 0) {
      V x = load(scores + i);
      if (n - i < lanes<real>) x = first_of(x, n - i, none);
      largest[v] = x > largest[v] ? x : largest[v];
    }
    real groups[most * lanes<real>] = {};
    for (int64_t v = 0; v < count; ++v) store(groups + v * lanes<real>, largest[v]);
    int64_t left = count * lanes<real>;
    for (; left % 2 == 0 && left / 2 >= size; left /= 2)
      for (int64_t g = 0; g < left / 2; ++g) groups[g] = std::max(groups[g], groups[g + left / 2]);
    return *std::min_element(groups, groups + left);
  }

  Scratch<V> score_;
  Scratch<I> number_;
};

}  // namespace RAMGRU_ISA
}  // namespace ramgru
