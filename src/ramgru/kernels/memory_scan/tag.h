// Tagged reads, forward and backward, by the equations of `tag.py`.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "../native/scratch.h"
#include "../native/simd.h"

namespace ramgru {
inline namespace RAMGRU_ISA {

// Not inlined, so that reads without tags keep their registers.
#define RAMGRU_APART __attribute__((noinline))

// The weights of the cells of one read, and the gradients through them. Arrays are by read, or by
// the reads that find a row, ascending; they have whole vectors, with zeros behind their end.
template <class real>
class TaggedRead {
 public:
  TaggedRead(int64_t J, int64_t A)
      : J_(J), A_(A), number_(J), scale_(whole(J)), cosine_(whole(J)), score_(whole(J)),
        gain_(whole(J)), weight_(whole(J)), found_(whole(J)), along_(whole(J)), off_(whole(J)) {}

  // J reads. counts(j): whether read j has a cell. `size` of these find a row, those of number(i),
  // ascending: tag(i) is its tag. The others find zeros, whose cosine is 0 whatever the query.
  template <class Counts, class Number, class Tag>
  RAMGRU_APART void weigh(int64_t J, const real* read_weight, const real* query, real match,
                          real null, Counts&& counts, int64_t size, Number&& number, Tag&& tag) {
    J_ = J;
    size_ = size;
    query_scale_ = inverse_length(broadcast(sum<real>(product(query, query))))[0];
    for (int64_t i = 0; i < size; i += lanes<real>) {
      int64_t n = std::min(size - i, lanes<real>);
      vec<real> own[lanes<real>], with[lanes<real>];
      for (int64_t k = 0; k < n; ++k) {
        const real* found = tag(i + k);
        own[k] = product(found, found);
        with[k] = product(found, query);
      }
      vec<real> scale = first_of(inverse_length(sums_of<real>(own, n)), n);
      store(&scale_[i], scale);
      store(&cosine_[i], first_of(sums_of<real>(with, n) * (query_scale_ * scale), n));
    }
    if (size == J) {
      for (int64_t j = 0; j < J; j += lanes<real>)
        store(&score_[j], first_of(match * load(&cosine_[j]), J - j, none));
    } else {
      real zero = match * (0 * query_scale_);  // NaN stays NaN
      for (int64_t j = 0; j < whole(J); ++j) score_[j] = j < J && counts(j) ? zero : none;
      for (int64_t i = 0; i < size; ++i) score_[number(i)] = match * cosine_[i];
    }
    vec<real> most = broadcast(null);
    for (int64_t j = 0; j < J; j += lanes<real>) {
      vec<real> score = load(&score_[j]);
      most = score > most ? score : most;
    }
    real top = largest<real>(most);
    if (!(top > none)) top = 0;
    vec<real> sums{};
    each_vector<real>(J, [&](int64_t j, auto n) {
      vec<real> gain = chance(load(&score_[j]) - top), weight = load_n(read_weight + j, n) * gain;
      store(&gain_[j], gain);
      store(&weight_[j], weight);
      sums += weight;
    });
    share_ = chance(broadcast(null - top))[0];
    real total = share_ + sum<real>(sums);
    real inverse = total == 0 ? 0 : 1 / total;  // no cell and no null: all weights are 0
    share_ *= inverse;
    for (int64_t j = 0; j < J; j += lanes<real>) {
      store(&gain_[j], load(&gain_[j]) * inverse);
      store(&weight_[j], load(&weight_[j]) * inverse);
    }
    if (size == J) return;
    for (int64_t i = 0; i < whole(size); ++i) found_[i] = i < size ? weight_[number(i)] : 0;
  }
  // tag(j): the tag of the row that read j of all J finds, null for no access.
  template <class Tag>
  void weigh(const real* read_weight, const real* query, real match, real null, Tag&& tag) {
    int64_t size = 0;
    for (int64_t j = 0; j < J_; ++j)
      if (tag(j)) number_[size++] = j;
    auto number = [&](int64_t i) { return number_[i]; };
    weigh(J_, read_weight, query, match, null, [&](int64_t j) { return tag(j) != nullptr; }, size,
          number, [&](int64_t i) { return tag(number_[i]); });
  }
  const real* weight() const { return weight_.get(); }  // by read
  const real* found() const { return size_ == J_ ? weight_.get() : found_.get(); }  // by row
  real share() const { return share_; }

  // From the gradients of the weights by row, in whole vectors, and of the share.
  template <class Number>
  RAMGRU_APART void backward(const real* grad_weight, real grad_share, real match, Number&& number,
                             real* grad_read_weight, double& grad_match, double& grad_null) {
    vec<real> sums{}, of_match{}, off_query{};
    for (int64_t i = 0; i < size_; i += lanes<real>)
      sums += load(found() + i) * load(grad_weight + i);
    real mean = share_ * grad_share + sum<real>(sums);
    grad_null += share_ * (grad_share - mean);
    for (int64_t i = 0; i < size_; i += lanes<real>) {
      vec<real> scale = load(&scale_[i]), cosine = load(&cosine_[i]);
      vec<real> score = load(found() + i) * (load(grad_weight + i) - mean), off = score * cosine;
      of_match += off;
      off *= match;
      off_query += off;
      store(&along_[i], score * match * query_scale_ * scale);
      store(&off_[i], off * scale * scale);
    }
    grad_match += sum<real>(of_match);
    off_query_ = sum<real>(off_query) * query_scale_ * query_scale_;
    bool all = size_ == J_;
    each_vector<real>(J_, [&](int64_t j, auto n) {
      vec<real> given = all ? load(grad_weight + j) : vec<real>{};
      store_n(grad_read_weight + j, load(&gain_[j]) * (given - mean), n);
    });
    if (all) return;
    for (int64_t i = 0; i < size_; ++i) {
      int64_t j = number(i);
      grad_read_weight[j] = gain_[j] * (grad_weight[i] - mean);
    }
  }
  // The gradients of the query and of the tags, which are added to grad(i), by row, unless null.
  template <class Tag, class Grad>
  RAMGRU_INLINE void spread(const real* query, real* grad_query, Tag&& tag, Grad&& grad) const {
    each_vector<real>(A_, [&](int64_t a, auto n) {
      vec<real> q = load_n(query + a, n), of_query = -off_query_ * q;
      for (int64_t i = 0; i < size_; ++i) {
        vec<real> t = load_n(tag(i) + a, n);
        real* d = grad(i);
        of_query += along_[i] * t;
        if (d) store_n(d + a, load_n(d + a, n) + (along_[i] * q - off_[i] * t), n);
      }
      store_n(grad_query + a, of_query, n);
    });
  }

 private:
  // Products of two tags, to be summed over the lanes.
  vec<real> product(const real* a, const real* b) const {
    vec<real> total{};
    each_vector<real>(A_, [&](int64_t i, auto n) { total += load_n(a + i, n) * load_n(b + i, n); });
    return total;
  }
  static vec<real> inverse_length(vec<real> squared) {  // 0 for the zero vector; NaN stays NaN
    return squared <= real(1e-24) ? vec<real>{} : 1 / square_root(squared);
  }
  static vec<real> chance(vec<real> score) { return score == none ? vec<real>{} : exp(score); }
  static int64_t whole(int64_t size) { return (size + lanes<real> - 1) / lanes<real> * lanes<real>; }

  static constexpr real none = -std::numeric_limits<real>::infinity();

  int64_t J_, A_, size_ = 0;
  Scratch<int64_t> number_;
  Scratch<real> scale_;   // by row: 1 / length of its tag, or 0
  Scratch<real> cosine_;  // by row
  Scratch<real> score_;   // by read; none if it does not count
  Scratch<real> gain_;    // by read: weight / read_weight
  Scratch<real> weight_;  // by read
  Scratch<real> found_;   // by row: its weight, unless all reads find one
  Scratch<real> along_;   // by row: gradient of its tag per query
  Scratch<real> off_;     // by row: the same per tag, to be taken off
  real query_scale_ = 0, share_ = 0, off_query_ = 0;
};

}  // namespace RAMGRU_ISA
}  // namespace ramgru
