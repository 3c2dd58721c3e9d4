// A causal convolution over a window of steps, each channel by its own taps:
// y[t] = sum_o taps[o] x[t - o], where x is 0 for a step before a reset.
#pragma once

#include "../native/parallel.h"
#include "../native/scratch.h"
#include "../native/simd.h"

namespace ramgru {

struct ShortConvolutionForward {
  std::int64_t bytes, threads;
  std::int64_t B, T, C, W;
  const void* input;    // (B, T, C)
  const void* before;   // (B, W, C) the W steps before the first
  const void* taps;     // (W + 1, C)
  const bool* reset;    // (B, T) or null
  void* output;         // (B, T, C)
};

struct ShortConvolutionBackward {
  std::int64_t bytes, threads;
  std::int64_t B, T, C, W;
  const void* input;
  const void* before;
  const void* taps;
  const bool* reset;
  const void* grad_output;
  void* grad_input;
  void* grad_before;
  void* grad_taps;
};

inline namespace RAMGRU_ISA {

constexpr int64_t channel_slice = 32;  // channels of an item
constexpr int64_t sum_steps = 64;      // steps of a partial sum, which limits rounding errors

// The input of a tap of a step: a row of channels, or null for zeros.
template <class real>
class Window {
 public:
  template <class Arguments>
  explicit Window(const Arguments& a)
      : T_(a.T), C_(a.C), W_(a.W), input_(static_cast<const real*>(a.input)),
        before_(static_cast<const real*>(a.before)), since_(a.reset ? a.B * a.T : 0),
        resets_(a.reset != nullptr) {
    for (int64_t i = 0; resets_ && i < a.B * a.T; ++i)
      since_[i] = a.reset[i] ? 0 : i % a.T == 0 ? a.W : since_[i - 1] + 1;
  }

  bool reaches(int64_t b, int64_t t, int64_t o) const {
    return !resets_ || since_[b * T_ + t] >= o;
  }
  const real* row(int64_t b, int64_t t, int64_t o) const {
    if (!reaches(b, t, o)) return nullptr;
    return t >= o ? input_ + (b * T_ + t - o) * C_ : before_ + (b * W_ + W_ + t - o) * C_;
  }

 private:
  int64_t T_, C_, W_;
  const real *input_, *before_;
  Scratch<int64_t> since_;  // steps since the last reset, W or more if there was none
  bool resets_;
};

template <class real>
void short_convolution_forward(const ShortConvolutionForward& a) {
  Window<real> window(a);
  auto taps = static_cast<const real*>(a.taps);
  auto output = static_cast<real*>(a.output);
  parallel(a.threads, a.B * ((a.T + 63) / 64), [&](Work& work) {
    for (int64_t item, pieces = (a.T + 63) / 64; work.next(item);) {
      int64_t b = item / pieces, first = item % pieces * 64;
      for (int64_t t = first; t < a.T && t < first + 64; ++t) {
        real* y = output + (b * a.T + t) * a.C;
        each_vector<real>(a.C, [&](int64_t c, auto n) {
          vec<real> sum{};
          for (int64_t o = 0; o <= a.W; ++o) {
            const real* x = window.row(b, t, o);
            if (x) sum += load_n(taps + o * a.C + c, n) * load_n(x + c, n);
          }
          store_n(y + c, sum, n);
        });
      }
    }
  });
}

template <class real>
void short_convolution_backward(const ShortConvolutionBackward& a) {
  using V = vec<real>;
  Window<real> window(a);
  auto taps = static_cast<const real*>(a.taps);
  auto above = static_cast<const real*>(a.grad_output);
  auto grad_input = static_cast<real*>(a.grad_input);
  auto grad_before = static_cast<real*>(a.grad_before);
  auto grad_taps = static_cast<real*>(a.grad_taps);
  constexpr int64_t most = channel_slice / lanes<real>;  // vectors of a slice
  // An item is a slice of channels of all sequences, so that sums over steps keep their order.
  int64_t slices = (a.C + channel_slice - 1) / channel_slice, sums = (a.W + 1) * most;
  parallel(a.threads, slices, [&](Work& work) {
    Scratch<V> total(sums), part(sums);  // gradients of the taps
    for (int64_t slice; work.next(slice);) {
      int64_t begin = slice * channel_slice;
      int64_t size = a.C - begin < channel_slice ? a.C - begin : channel_slice;
      for (int64_t i = 0; i < sums; ++i) total[i] = V{};
      for (int64_t b = 0; b < a.B; ++b) {
        for (int64_t first = 0; first < a.T; first += sum_steps) {
          for (int64_t i = 0; i < sums; ++i) part[i] = V{};
          for (int64_t t = first; t < a.T && t < first + sum_steps; ++t)
            each_vector<real>(size, [&](int64_t i, auto n) {
              int64_t c = begin + i;
              V g = load_n(above + (b * a.T + t) * a.C + c, n);
              V* sum = part.get() + i / lanes<real>;
              for (int64_t o = 0; o <= a.W; ++o) {
                const real* x = window.row(b, t, o);
                if (x) sum[o * most] += g * load_n(x + c, n);
              }
            });
          for (int64_t i = 0; i < sums; ++i) total[i] += part[i];
        }
        for (int64_t s = -a.W; s < a.T; ++s)
          each_vector<real>(size, [&](int64_t i, auto n) {
            int64_t c = begin + i;
            V g{};  // of the outputs that step s went into
            for (int64_t o = s < 0 ? -s : 0; o <= a.W && s + o < a.T; ++o)
              if (window.reaches(b, s + o, o))
                g += load_n(taps + o * a.C + c, n) * load_n(above + (b * a.T + s + o) * a.C + c, n);
            real* out = s < 0 ? grad_before + (b * a.W + a.W + s) * a.C
                              : grad_input + (b * a.T + s) * a.C;
            store_n(out + c, g, n);
          });
      }
      each_vector<real>(size, [&](int64_t i, auto n) {
        const V* sum = total.get() + i / lanes<real>;
        for (int64_t o = 0; o <= a.W; ++o)
          store_n(grad_taps + o * a.C + begin + i, sum[o * most], n);
      });
    }
  });
}

}  // namespace RAMGRU_ISA
}  // namespace ramgru
