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

// The weights of the J cells of one read, and the gradients through them.
template <class real>
class TaggedRead {
 public:
  TaggedRead(int64_t J, int64_t A)
      : J_(J), A_(A), padded_((J + lanes<real>) / lanes<real> * lanes<real>), scale_(padded_),
        cosine_(padded_), gain_(padded_), weight_(padded_) {
    std::memset(gain_.get(), 0, padded_ * sizeof(real));
  }

  // tag(j): the tag of the row that read j finds, null for no access.
  template <class Tag>
  RAMGRU_APART void weigh(const real* read_weight, const real* query, real match, real null,
                          Tag&& tag) {
    constexpr real none = -std::numeric_limits<real>::infinity();
    query_scale_ = inverse_length(dot(query, query));
    for (int64_t j = 0; j < J_; ++j) {
      const real* found = tag(j);
      scale_[j] = found ? dot(found, found) : 0;
      cosine_[j] = found ? dot(found, query) : 0;
      gain_[j] = found ? 0 : none;
    }
    for (int64_t j = 0; j < J_; ++j) {
      scale_[j] = inverse_length(scale_[j]);
      cosine_[j] *= query_scale_ * scale_[j];
      gain_[j] = gain_[j] == none ? none : match * cosine_[j];
    }
    real top = gain_[J_] = null;
    for (int64_t j = 0; j < J_; ++j) top = std::max(top, gain_[j]);
    if (top == none) top = 0;
    for (int64_t i = 0; i < padded_; i += lanes<real>) {
      vec<real> score = load(&gain_[i]) - top;
      store(&gain_[i], score == none ? vec<real>{} : exp(score));
    }
    real total = gain_[J_];
    for (int64_t j = 0; j < J_; ++j) total += read_weight[j] * gain_[j];
    real inverse = total == 0 ? 0 : 1 / total;  // no cell and no null: all weights are 0
    share_ = gain_[J_] * inverse;
    for (int64_t j = 0; j < J_; ++j) {
      gain_[j] *= inverse;
      weight_[j] = read_weight[j] * gain_[j];
    }
  }
  const real* weight() const { return weight_.get(); }
  real share() const { return share_; }

  // From the gradients of the weights (J), overwritten by those of read_weight, and of the share.
  // grad(j): the gradient of the tag of read j, added to, or null.
  template <class Tag, class Grad>
  RAMGRU_APART void backward(real* grad_weight, real grad_share, const real* query, real match,
                             Tag&& tag, Grad&& grad, real* grad_query, double& grad_match,
                             double& grad_null) {
    real mean = share_ * grad_share, off_query = 0;
    for (int64_t j = 0; j < J_; ++j) mean += weight_[j] * grad_weight[j];
    grad_null += share_ * (grad_share - mean);
    for (int64_t i = 0; i < A_; ++i) grad_query[i] = 0;
    for (int64_t j = 0; j < J_; ++j) {
      const real* found = tag(j);
      real excess = grad_weight[j] - mean;
      grad_weight[j] = found ? gain_[j] * excess : 0;
      if (!found) continue;
      real grad_score = weight_[j] * excess, grad_cosine = grad_score * match;
      grad_match += grad_score * cosine_[j];
      real along = grad_cosine * query_scale_ * scale_[j], off = grad_cosine * cosine_[j];
      real off_tag = off * scale_[j] * scale_[j];
      off_query += off * query_scale_ * query_scale_;
      real* d = grad(j);
      each_vector<real>(A_, [&](int64_t i, auto n) {
        vec<real> t = load_n(found + i, n), q = load_n(query + i, n);
        store_n(grad_query + i, load_n(grad_query + i, n) + along * t, n);
        if (d) store_n(d + i, load_n(d + i, n) + (along * q - off_tag * t), n);
      });
    }
    for (int64_t i = 0; i < A_; ++i) grad_query[i] -= off_query * query[i];
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

  int64_t J_, A_, padded_;  // padded_: J + 1 in whole vectors
  Scratch<real> scale_;     // 1 / length of each tag, or 0
  Scratch<real> cosine_;
  Scratch<real> gain_;      // weight / read_weight; the null at J while they are computed
  Scratch<real> weight_;
  real query_scale_, share_;
};

}  // namespace RAMGRU_ISA
}  // namespace ramgru
