// Tape heads: positions that gates move, and the two cells that each write and each read covers.
// Positions and gates are in float64:
//
//   w[t] = w[t-1] + push
//   r[t] = (1 - jump) r[t-1] + pop                 of an even head
//   r[t] = (1 - jump) r[t-1] + jump w[t] - pop     of an odd head, which reads backwards
//
// A write covers the `push` before w[t], a read the next 1 from the lower end of what it pops. The
// gradient of a read's position sees `window` cells on each side, read with weights of 0. A work
// item is a sequence.
#pragma once

#include <cmath>
#include <cstring>

#include "../native/parallel.h"
#include "../native/scratch.h"
#include "../recurrence/scan.h"

namespace ramgru {

struct TapeForward {
  std::int64_t bytes, threads;
  std::int64_t B, T, H, cells, window;
  const void* moves;            // (B, T, 3 H): push, jump and pop before their gates
  const double* position;       // (B, 2 H): of writes, then of reads, before the first step
  const bool* reset;            // (B, T) or null
  const std::int64_t* lengths;  // (B,) or null
  std::int64_t* write_index;    // (B, T, H, 2)
  void* write_weight;
  std::int64_t* read_index;     // (B, T, H, 2 window)
  void* read_weight;
  double* positions;            // (B, T, 2 H) after each step
};

struct TapeBackward {
  std::int64_t bytes, threads;
  std::int64_t B, T, H, cells, window;
  const void* moves;
  const double* position;
  const bool* reset;
  const std::int64_t* lengths;
  const double* positions;
  const void* grad_write;   // (B, T, H, 2) of the weights, or null
  const void* grad_read;    // (B, T, H, 2 window) or null
  const double* grad_last;  // (B, 2 H) or null
  void* grad_moves;         // (B, T, 3 H)
  double* grad_position;    // (B, 2 H)
};

inline namespace RAMGRU_ISA {

inline int64_t wrapped(int64_t i, int64_t n) { return (i % n + n) % n; }

constexpr double tape_reach = 1.5;  // REACH of `torch.py`

template <class real>
double tape_sigmoid(real move) {
  return 1 / (1 + std::exp(-(double)move));
}

template <class real>
double tape_gate(real move) {
  double open = tape_reach * tape_sigmoid(move) - (tape_reach - 1) / 2;
  return open < 0 ? 0 : open > 1 ? 1 : open;
}

// The two cells from `begin` on, and how much of each the next `length`, at most 1, covers.
template <class real>
struct Stretch {
  int64_t cell[2];
  real weight[2];

  Stretch(double begin, double length, int64_t N) {
    double lower = std::floor(begin), rest = lower + 1 - begin;
    double first = length < rest ? length : rest;
    cell[0] = wrapped((int64_t)lower, N);
    cell[1] = (cell[0] + 1) % N;
    weight[0] = (real)first;
    weight[1] = (real)(length - first);
  }
};

// The gradients of a stretch's weights -> of `begin`, and added to `*of_length`. At the border of a
// cell each side has half, as in torch.minimum.
template <class real>
double stretch_backward(double begin, double length, const real* grad, double* of_length) {
  if (grad == nullptr) return 0;
  double rest = std::floor(begin) + 1 - begin, of_first = (double)grad[0] - (double)grad[1];
  double inside = length < rest ? 1 : length == rest ? 0.5 : 0;
  *of_length += (double)grad[1] + inside * of_first;
  return -(1 - inside) * of_first;
}

// The `window` cells on each side of `begin`, and how much of each the next 1 covers.
template <class real>
void tape_window(double begin, int64_t window, int64_t N, int64_t* cell, real* weight) {
  double lower = std::floor(begin), rest = lower + 1 - begin;
  for (int64_t j = 0, o = 1 - window; o <= window; ++j, ++o) {
    cell[j] = wrapped((int64_t)lower + o, N);
    weight[j] = (real)(o == 0 ? rest : o == 1 ? 1 - rest : 0);
  }
}

// The gradient of `begin` from those of the weights: as if a triangle of `window` cells on each
// side were read.
template <class real>
double window_backward(double begin, int64_t window, const real* grad) {
  if (grad == nullptr) return 0;
  double lower = std::floor(begin), sum = 0;
  for (int64_t j = 0, o = 1 - window; o <= window; ++j, ++o) {
    double apart = lower + o - begin;
    if (apart < 0) sum -= (double)grad[j];
    if (apart > 0 && apart < window) sum += (double)grad[j];
  }
  return sum / (double)(window * window);
}

// The gates of a head at a step, and how they move its two positions.
struct TapeMove {
  bool backwards, anew;
  double push, jump, pop;

  template <class real>
  TapeMove(const real* moves, int64_t h, int64_t H, bool padding, bool reset)
      : backwards(h % 2), anew(reset && !padding), push(padding ? 0 : tape_gate(moves[h])),
        jump(padding ? 0 : tape_gate(moves[H + h])),
        pop(padding ? 0 : tape_gate(moves[2 * H + h])) {}

  // Positions before the move, where a write begins; and after it. A recomputed gate may be rounded
  // differently: `after` - `push` would not be 0 at a reset.
  double kept(double before) const { return anew ? 0 : before; }
  double write(double before) const { return kept(before) + push; }
  double read(double before, double written) const {
    return scan_step<double>(anew ? 0 : 1 - jump, before, backwards ? jump * written - pop : pop);
  }
  // Where a read begins.
  double low(double before, double after) const {
    return backwards ? after : scan_step<double>(anew ? 0 : 1 - jump, before, 0);
  }
};

template <class real>
void tape_forward(const TapeForward& a) {
  auto moves = static_cast<const real*>(a.moves);
  auto write_weight = static_cast<real*>(a.write_weight);
  auto read_weight = static_cast<real*>(a.read_weight);
  int64_t T = a.T, H = a.H;
  parallel(a.threads, a.B, [&](Work& work) {
    for (int64_t b; work.next(b);) {
      const double* before = a.position + b * 2 * H;
      for (int64_t t = 0; t < T; ++t) {
        int64_t step = b * T + t;
        bool padding = a.lengths && t >= a.lengths[b], reset = a.reset && a.reset[step];
        double* after = a.positions + step * 2 * H;
        for (int64_t h = 0; h < H; ++h) {
          TapeMove m(moves + step * 3 * H, h, H, padding, reset);
          after[h] = m.write(before[h]);
          after[H + h] = m.read(before[H + h], after[h]);
          int64_t at = (step * H + h) * 2, seen = at * a.window;
          Stretch<real> pushed(m.kept(before[h]), m.push, a.cells);
          std::memcpy(a.write_index + at, pushed.cell, sizeof pushed.cell);
          std::memcpy(write_weight + at, pushed.weight, sizeof pushed.weight);
          tape_window(m.low(before[H + h], after[H + h]), a.window, a.cells,
                      a.read_index + seen, read_weight + seen);
        }
        before = after;
      }
    }
  });
}

template <class real>
void tape_backward(const TapeBackward& a) {
  auto moves = static_cast<const real*>(a.moves);
  auto grad_write = static_cast<const real*>(a.grad_write);
  auto grad_read = static_cast<const real*>(a.grad_read);
  auto grad_moves = static_cast<real*>(a.grad_moves);
  int64_t T = a.T, H = a.H;
  parallel(a.threads, a.B, [&](Work& work) {
    for (int64_t b; work.next(b);) {
      double* carry = a.grad_position + b * 2 * H;  // of the positions after the step
      for (int64_t i = 0; i < 2 * H; ++i) carry[i] = a.grad_last ? a.grad_last[b * 2 * H + i] : 0;
      for (int64_t t = T - 1; t >= 0; --t) {
        int64_t step = b * T + t;
        bool padding = a.lengths && t >= a.lengths[b], reset = a.reset && a.reset[step];
        const double* after = a.positions + step * 2 * H;
        const double* before = t > 0 ? after - 2 * H : a.position + b * 2 * H;
        for (int64_t h = 0; h < H; ++h) {
          const real* row = moves + step * 3 * H;
          TapeMove m(row, h, H, padding, reset);
          int64_t at = (step * H + h) * 2;
          double push = 0, jump = 0, pop = 0, write, read, of_after;
          write = stretch_backward(m.kept(before[h]), m.push,
                                   grad_write ? grad_write + at : nullptr, &push);
          read = window_backward(m.low(before[H + h], after[H + h]), a.window,
                                 grad_read ? grad_read + at * a.window : nullptr);
          of_after = read + carry[H + h];
          pop = m.backwards ? -of_after : carry[H + h];
          if (m.backwards) {
            jump = of_after * after[h];
            carry[h] += of_after * m.jump;
          }
          if (!m.anew) jump -= of_after * before[H + h];
          push += carry[h];  // the start of a write stays where `push` changes
          carry[h] = m.anew ? 0 : carry[h] + write;
          carry[H + h] = m.anew || m.jump == 1 ? 0 : (1 - m.jump) * of_after;
          double of_gate[3] = {push, jump, pop};
          for (int64_t i = 0; i < 3; ++i) {
            double s = tape_sigmoid(row[i * H + h]);
            double slope = tape_reach * s * (1 - s);
            grad_moves[step * 3 * H + i * H + h] = padding ? real(0) : (real)(slope * of_gate[i]);
          }
        }
      }
    }
  });
}

}  // namespace RAMGRU_ISA
}  // namespace ramgru
