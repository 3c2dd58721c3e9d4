// A GRU whose recurrent weights are one number a unit and gate, by the equations of torch.nn.GRU:
// r, z = sigmoid(x + (u h + c)); n = tanh(x + r (u h + c)); h[t] = (1 - z) n + z h[t-1].
//
// A work item is one sequence and a slice of its units, for all time steps. Backward computes the
// gates again from the projected input and the states, which is faster than to read them back.
#pragma once

#include "scan.h"

namespace ramgru {

struct DiagonalGruForward {
  std::int64_t bytes, threads;
  std::int64_t B, T, H;
  const void* projected;         // (B, T, 3 H): r, z, n
  const void* initial;           // (B, H); this and all others in the dtype of the computation
  const void* weight;            // (3 H,)
  const void* bias;              // (3 H,) or null
  const bool* reset;             // (B, T) or null
  const std::int64_t* lengths;   // (B,) or null
  void* states;                  // (B, T, H); 0 in the padding
  void* last;                    // (B, H)
};

struct DiagonalGruBackward {
  std::int64_t bytes, threads;
  std::int64_t B, T, H;
  const void* projected;
  const void* initial;
  const void* weight;
  const void* bias;
  const bool* reset;
  const std::int64_t* lengths;
  const void* states;            // of the forward pass
  const void* grad_states;       // (B, T, H) or null
  const void* grad_last;         // (B, H) or null
  void* grad_projected;          // (B, T, 3 H); 0 in the padding
  void* grad_initial;            // (B, H)
  void* grad_weight;             // (B, 3 H), each sequence's part
  void* grad_bias;               // (B, 3 H)
};

inline namespace RAMGRU_ISA {

// The recurrent weights and biases of a slice, gate by gate.
template <class real>
struct DiagonalSlice {
  alignas(64) real weight[3][scan_slice], bias[3][scan_slice];

  DiagonalSlice(const void* weights, const void* biases, int64_t H, int64_t first, int64_t size) {
    for (int64_t gate = 0; gate < 3; ++gate) {
      std::memcpy(weight[gate], static_cast<const real*>(weights) + gate * H + first,
                  size * sizeof(real));
      if (biases)
        std::memcpy(bias[gate], static_cast<const real*>(biases) + gate * H + first,
                    size * sizeof(real));
      else
        std::memset(bias[gate], 0, sizeof bias[gate]);
    }
  }
};

// Steps to fetch ahead: a slice's steps lie so far apart that the processor does not foresee them.
constexpr int64_t diagonal_ahead = 4;

// Fetches `rows` rows of a slice, H apart; they may lie outside the tensor.
template <class storage>
RAMGRU_INLINE void diagonal_fetch(const storage* row, int64_t size, int64_t H, int rows) {
  for (int k = 0; k < rows; ++k)
    for (int64_t i = 0; i < size; i += 64 / sizeof(storage)) __builtin_prefetch(row + k * H + i);
}

template <class real>
struct DiagonalGates {
  vec<real> r, z, n, hn;  // hn = u h + c of the candidate n

  // x: the projected input, its gates H apart; h: the state before the step
  template <class storage, class N>
  RAMGRU_INLINE DiagonalGates(const DiagonalSlice<real>& s, const storage* x, int64_t H,
                              vec<real> h, int64_t i, N count) {
    auto recurrent = [&](int gate) {
      return load_n(s.weight[gate] + i, count) * h + load_n(s.bias[gate] + i, count);
    };
    r = sigmoid(load_n(x + i, count) + recurrent(0));
    z = sigmoid(load_n(x + H + i, count) + recurrent(1));
    hn = recurrent(2);
    n = tanh(load_n(x + 2 * H + i, count) + r * hn);
  }
};

template <class storage>
void diagonal_gru_forward(const DiagonalGruForward& a) {
  using real = real_of<storage>;
  using V = vec<real>;
  auto projected = static_cast<const storage*>(a.projected);
  auto initial = static_cast<const real*>(a.initial);
  auto states = static_cast<real*>(a.states);
  auto last = static_cast<real*>(a.last);
  scan_items(a.threads, a.B, a.H, [&](int64_t b, int64_t first, auto size) {
    int64_t length = a.lengths ? a.lengths[b] : a.T;
    const DiagonalSlice<real> slice(a.weight, a.bias, a.H, first, size);
    alignas(64) real held[scan_slice];
    std::memcpy(held, initial + b * a.H + first, size * sizeof(real));
    for (int64_t t = 0; t < length; ++t) {
      const storage* row = projected + (b * a.T + t) * 3 * a.H + first;
      real* out = states + (b * a.T + t) * a.H + first;
      diagonal_fetch(row + diagonal_ahead * 3 * a.H, size, a.H, 3);
      diagonal_fetch(out + diagonal_ahead * a.H, size, a.H, 1);
      if (a.reset && a.reset[b * a.T + t]) std::memset(held, 0, size * sizeof(real));
      each_vector<real>(size, [&](int64_t i, auto n) {
        V h = load_n(held + i, n);
        DiagonalGates<real> g(slice, row, a.H, h, i, n);
        h = (1 - g.z) * g.n + g.z * h;
        store_n(held + i, h, n);
        store_n(out + i, h, n);
      });
    }
    std::memcpy(last + b * a.H + first, held, size * sizeof(real));
    for (int64_t t = length; t < a.T; ++t)
      std::memset(states + (b * a.T + t) * a.H + first, 0, size * sizeof(real));
  });
}

// Sums over time for the 3 gates of a slice, in blocks: a sum of very many small numbers loses digits.
template <class real>
struct DiagonalSums {
  static constexpr int64_t block = 64;
  alignas(64) real part[3][scan_slice] = {}, total[3][scan_slice] = {};

  template <class N>
  RAMGRU_INLINE void add(int gate, int64_t i, vec<real> v, N n) {
    store_n(part[gate] + i, load_n(part[gate] + i, n) + v, n);
  }

  void end_step(int64_t t) {
    if (t % block) return;
    for (int gate = 0; gate < 3; ++gate)
      for (int64_t i = 0; i < scan_slice; ++i) {
        total[gate][i] += part[gate][i];
        part[gate][i] = 0;
      }
  }

  void write(void* to, int64_t H, int64_t size) const {
    for (int64_t gate = 0; gate < 3; ++gate)
      std::memcpy(static_cast<real*>(to) + gate * H, total[gate], size * sizeof(real));
  }
};

template <class storage>
void diagonal_gru_backward(const DiagonalGruBackward& a) {
  using real = real_of<storage>;
  using V = vec<real>;
  auto projected = static_cast<const storage*>(a.projected);
  auto initial = static_cast<const real*>(a.initial);
  auto states = static_cast<const real*>(a.states);
  auto grad_states = static_cast<const real*>(a.grad_states);
  auto grad_last = static_cast<const real*>(a.grad_last);
  auto grad_projected = static_cast<storage*>(a.grad_projected);
  auto grad_initial = static_cast<real*>(a.grad_initial);
  scan_items(a.threads, a.B, a.H, [&](int64_t b, int64_t first, auto size) {
    int64_t length = a.lengths ? a.lengths[b] : a.T;
    const DiagonalSlice<real> slice(a.weight, a.bias, a.H, first, size);
    DiagonalSums<real> weight, bias;
    alignas(64) real grad[scan_slice] = {}, zero[scan_slice] = {};
    if (grad_last) std::memcpy(grad, grad_last + b * a.H + first, size * sizeof(real));
    for (int64_t t = a.T; t-- > length;)
      for (int64_t gate = 0; gate < 3; ++gate)
        std::memset(grad_projected + ((b * a.T + t) * 3 + gate) * a.H + first, 0,
                    size * sizeof(storage));
    for (int64_t t = length; t-- > 0;) {
      int64_t step = b * a.T + t;
      bool anew = a.reset && a.reset[step];
      const storage* row = projected + step * 3 * a.H + first;
      const real* before = anew    ? zero
                           : t > 0 ? states + (step - 1) * a.H + first
                                   : initial + b * a.H + first;
      const real* from_above = grad_states ? grad_states + step * a.H + first : zero;
      storage* out = grad_projected + step * 3 * a.H + first;
      diagonal_fetch(row - diagonal_ahead * 3 * a.H, size, a.H, 3);
      diagonal_fetch(out - diagonal_ahead * 3 * a.H, size, a.H, 3);
      diagonal_fetch(before - diagonal_ahead * a.H, size, a.H, 1);
      diagonal_fetch(from_above - diagonal_ahead * a.H, size, a.H, 1);
      each_vector<real>(size, [&](int64_t i, auto n) {
        V h = load_n(before + i, n), g = load_n(grad + i, n) + load_n(from_above + i, n);
        DiagonalGates<real> gate(slice, row, a.H, h, i, n);
        V dn = g * (1 - gate.z) * (1 - gate.n * gate.n);
        V dz = g * (h - gate.n) * gate.z * (1 - gate.z);
        V dhn = dn * gate.r;
        V dr = dhn * gate.hn * (1 - gate.r);
        store_n(out + i, dr, n);
        store_n(out + a.H + i, dz, n);
        store_n(out + 2 * a.H + i, dn, n);
        g = g * gate.z + dr * load_n(slice.weight[0] + i, n) +
            dz * load_n(slice.weight[1] + i, n) + dhn * load_n(slice.weight[2] + i, n);
        store_n(grad + i, anew ? V{} : g, n);
        V recurrent[] = {dr, dz, dhn};
        for (int k = 0; k < 3; ++k) {
          weight.add(k, i, recurrent[k] * h, n);
          bias.add(k, i, recurrent[k], n);
        }
      });
      weight.end_step(t);
      bias.end_step(t);
    }
    std::memcpy(grad_initial + b * a.H + first, grad, size * sizeof(real));
    weight.write(static_cast<real*>(a.grad_weight) + b * 3 * a.H + first, a.H, size);
    bias.write(static_cast<real*>(a.grad_bias) + b * 3 * a.H + first, a.H, size);
  });
}

}  // namespace RAMGRU_ISA
}  // namespace ramgru
