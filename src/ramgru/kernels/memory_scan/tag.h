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

// The weights of the J cells of one read, and the gradients through them. A cell that holds zeros
// has the cosine 0 whatever the query, so that its row need not be looked at.
template <class real>
class TaggedRead {
 public:
  TaggedRead(int64_t J, int64_t A)
      : J_(J), A_(A), padded_((J + lanes<real>) / lanes<real> * lanes<real>), number_(J),
        scale_(padded_), cosine_(padded_), score_(padded_), gain_(padded_), weight_(padded_) {
    std::fill_n(score_.get(), padded_, none);
    std::fill_n(weight_.get(), padded_, real(0));
  }

  // counts(j): whether read j has a cell. The rows of `size` of these are looked at, of the reads
  // number(i), ascending: tag(i) is the tag. The others hold zeros.
  template <class Counts, class Number, class Tag>
  RAMGRU_APART void weigh(const real* read_weight, const real* query, real match, real null,
                          Counts&& counts, int64_t size, Number&& number, Tag&& tag) {
    query_scale_ = inverse_length(dot(query, query));
    real zero = 0 * query_scale_;  // NaN stays NaN
    for (int64_t j = 0; j < J_; ++j) score_[j] = counts(j) ? match * zero : none;
    for (int64_t i = 0; i < size; ++i) {
      const real* found = tag(i);
      scale_[i] = dot(found, found);
      cosine_[i] = dot(found, query);
    }
    for (int64_t i = 0; i < size; ++i) {
      scale_[i] = inverse_length(scale_[i]);
      cosine_[i] *= query_scale_ * scale_[i];
    }
    for (int64_t i = 0; i < size; ++i) score_[number(i)] = match * cosine_[i];
    score_[J_] = null;
    vec<real> most = load(&score_[0]);
    for (int64_t j = lanes<real>; j < padded_; j += lanes<real>) {
      vec<real> score = load(&score_[j]);
      most = score > most ? score : most;
    }
    real top = largest<real>(most);
    if (!(top > none)) top = 0;
    for (int64_t j = 0; j < padded_; j += lanes<real>) {
      vec<real> score = load(&score_[j]) - top;
      store(&gain_[j], score == none ? vec<real>{} : exp(score));
    }
    vec<real> sums{};
    each_vector<real>(J_, [&](int64_t j, auto n) {
      sums += load_n(read_weight + j, n) * load(&gain_[j]);
    });
    real total = gain_[J_] + sum<real>(sums);
    real inverse = total == 0 ? 0 : 1 / total;  // no cell and no null: all weights are 0
    share_ = gain_[J_] * inverse;
    each_vector<real>(J_, [&](int64_t j, auto n) {
      vec<real> gain = load(&gain_[j]) * inverse;
      store(&gain_[j], gain);
      store(&weight_[j], load_n(read_weight + j, n) * gain);
    });
  }
  // tag(j): the tag of the row that read j finds, null for no access.
  template <class Tag>
  void weigh(const real* read_weight, const real* query, real match, real null, Tag&& tag) {
    int64_t size = 0;
    for (int64_t j = 0; j < J_; ++j)
      if (tag(j)) number_[size++] = j;
    auto number = [&](int64_t i) { return number_[i]; };
    weigh(read_weight, query, match, null, [&](int64_t j) { return tag(j) != nullptr; }, size,
          number, [&](int64_t i) { return tag(number_[i]); });
  }
  const real* weight() const { return weight_.get(); }
  real share() const { return share_; }

  // From the gradients of the weights (J), overwritten by those of read_weight, and of the share.
  // size, number, tag: as before; grad(i): the gradient of tag(i), added to, or null.
  template <class Number, class Tag, class Grad>
  RAMGRU_APART void backward(real* grad_weight, real grad_share, const real* query, real match,
                             int64_t size, Number&& number, Tag&& tag, Grad&& grad,
                             real* grad_query, double& grad_match, double& grad_null) {
    vec<real> sums{};
    each_vector<real>(J_, [&](int64_t j, auto n) {
      sums += load(&weight_[j]) * load_n(grad_weight + j, n);
    });
    real mean = share_ * grad_share + sum<real>(sums), off_query = 0;
    grad_null += share_ * (grad_share - mean);
    for (int64_t i = 0; i < A_; ++i) grad_query[i] = 0;
    for (int64_t i = 0; i < size; ++i) {
      int64_t j = number(i);
      real grad_score = weight_[j] * (grad_weight[j] - mean), grad_cosine = grad_score * match;
      grad_match += grad_score * cosine_[i];
      real along = grad_cosine * query_scale_ * scale_[i], off = grad_cosine * cosine_[i];
      real off_tag = off * scale_[i] * scale_[i];
      off_query += off * query_scale_ * query_scale_;
      const real* found = tag(i);
      real* d = grad(i);
      each_vector<real>(A_, [&](int64_t a, auto n) {
        vec<real> t = load_n(found + a, n), q = load_n(query + a, n);
        store_n(grad_query + a, load_n(grad_query + a, n) + along * t, n);
        if (d) store_n(d + a, load_n(d + a, n) + (along * q - off_tag * t), n);
      });
    }
    for (int64_t i = 0; i < A_; ++i) grad_query[i] -= off_query * query[i];
    each_vector<real>(J_, [&](int64_t j, auto n) {
      store_n(grad_weight + j, load(&gain_[j]) * (load_n(grad_weight + j, n) - mean), n);
    });
  }

 private:
  real dot(const real* a, const real* b) const {
    vec<real> total{};
    each_vector<real>(A_, [&](int64_t i, auto n) { total += load_n(a + i, n) * load_n(b + i, n); });
    return sum<real>(total);
  }
  static real inverse_length(real squared) {  // 0 for the zero vector; NaN stays NaN
    return squared <= real(1e-24) ? 0 : 1 / std::sqrt(squared);
  }

  static constexpr real none = -std::numeric_limits<real>::infinity();

  int64_t J_, A_, padded_;    // padded_: J + 1 in whole vectors
  Scratch<int64_t> number_;   // of the reads with a tag
  Scratch<real> scale_;       // 1 / length of each tag, or 0
  Scratch<real> cosine_;      // by tag
  Scratch<real> score_;       // by read, the null at J; none in the padding
  Scratch<real> gain_;        // weight / read_weight, by read
  Scratch<real> weight_;      // by read
  real query_scale_, share_;
};

}  // namespace RAMGRU_ISA
}  // namespace ramgru
