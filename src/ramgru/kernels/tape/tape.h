// Tape heads: positions that gates move, and the two cells that each write and each read covers.
// Positions and gates are in float64. Even heads are queues, odd heads are stacks:
//
//   queue   w' = w,              w = w' + push;   r' = (1 - jump) r,  r = r' + pop
//   stack   w' = (1 - jump) w,   w = w' + push - pop, and r alike
//
// A write covers the next `push` from w' on, a read the next 1 from r' on, or from below if a stack
// pops more than it pushes. A work item is a sequence.
#pragma once

#include <cmath>
#include <cstring>

#include "../native/parallel.h"
#include "../native/scratch.h"
#include "../recurrence/scan.h"

namespace ramgru {

struct TapeForward {
  std::int64_t bytes, threads;
  std::int64_t B, T, H, cells;
  const void* moves;            // (B, T, 3 H): push, jump and pop before their gates
  const double* position;       // (B, 2 H): of writes, then of reads, before the first step
  const bool* reset;            // (B, T) or null
  const std::int64_t* lengths;  // (B,) or null
  std::int64_t* write_index;    // (B, T, H, 2)
  void* write_weight;
  std::int64_t* read_index;
  void* read_weight;
  double* positions;            // (B, T, 2 H) after each step
};

struct TapeBackward {
  std::int64_t bytes, threads;
  std::int64_t B, T, H, cells;
  const void* moves;
  const double* position;
  const bool* reset;
  const std::int64_t* lengths;
  const double* positions;
  const void* grad_write;   // (B, T, H, 2) of the weights, or null
  const void* grad_read;
  const double* grad_last;  // (B, 2 H) or null
  void* grad_moves;         // (B, T, 3 H)
  double* grad_position;    // (B, 2 H)
};

inline namespace RAMGRU_ISA {

inline int64_t wrapped(int64_t i, int64_t n) { return (i % n + n) % n; }

constexpr double tape_gain = 5, tape_reach = 1.2;  // GAIN and REACH of `torch.py`

template <class real>
double tape_sigmoid(real move) {
  return 1 / (1 + std::exp(-(double)((real)tape_gain * move)));
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

// The gates of a head at a step, and how they move its two positions.
struct TapeMove {
  bool stack;
  double push, jump, pop, net, keep[2], move[2];

  template <class real>
  TapeMove(const real* moves, int64_t h, int64_t H, bool padding, bool reset)
      : stack(h % 2), push(padding ? 0 : tape_gate(moves[h])),
        jump(padding ? 0 : tape_gate(moves[H + h])),
        pop(padding ? 0 : tape_gate(moves[2 * H + h])), net(push - pop),
        keep{stack ? 1 - jump : 1, 1 - jump}, move{stack ? net : push, stack ? net : pop} {
    if (reset && !padding) keep[0] = keep[1] = 0;
  }

  // Where a read begins whose position stood at `begin` after the jump.
  double low(double begin) const { return stack && net < 0 ? begin + net : begin; }
};

template <class real>
void tape_forward(const TapeForward& a) {
  auto moves = static_cast<const real*>(a.moves);
  auto write_weight = static_cast<real*>(a.write_weight);
  auto read_weight = static_cast<real*>(a.read_weight);
  int64_t T = a.T, H = a.H;
  auto put = [](const Stretch<real>& s, int64_t* index, real* weight) {
    std::memcpy(index, s.cell, sizeof s.cell);
    std::memcpy(weight, s.weight, sizeof s.weight);
  };
  parallel(a.threads, a.B, [&](Work& work) {
    for (int64_t b; work.next(b);) {
      const double* before = a.position + b * 2 * H;
      for (int64_t t = 0; t < T; ++t) {
        int64_t step = b * T + t;
        bool padding = a.lengths && t >= a.lengths[b], reset = a.reset && a.reset[step];
        double* after = a.positions + step * 2 * H;
        for (int64_t h = 0; h < H; ++h) {
          TapeMove m(moves + step * 3 * H, h, H, padding, reset);
          after[h] = scan_step(m.keep[0], before[h], m.move[0]);
          after[H + h] = scan_step(m.keep[1], before[H + h], m.move[1]);
          int64_t at = (step * H + h) * 2;
          put({after[h] - m.move[0], m.push, a.cells}, a.write_index + at, write_weight + at);
          put({m.low(after[H + h] - m.move[1]), 1, a.cells}, a.read_index + at, read_weight + at);
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
          int64_t at = (step * H + h) * 2, place[2] = {h, H + h};
          double push = 0, pop = 0, net = 0, one = 0, jump = 0, begin[2], low;
          begin[0] = stretch_backward(after[h] - m.move[0], m.push,
                                      grad_write ? grad_write + at : nullptr, &push);
          low = m.low(after[H + h] - m.move[1]);
          begin[1] = stretch_backward(low, 1, grad_read ? grad_read + at : nullptr, &one);
          if (m.stack && m.net <= 0) net += begin[1];
          for (int64_t i = 0; i < 2; ++i) {
            double of_after = begin[i] + carry[place[i]], of_move = carry[place[i]];
            if (!m.stack) (i == 0 ? push : pop) += of_move;
            if (m.stack) net += of_move;
            if ((m.stack || i == 1) && !reset) jump -= of_after * before[place[i]];
            carry[place[i]] = m.keep[i] == 0 ? 0 : m.keep[i] * of_after;
          }
          double of_gate[3] = {push + net, jump, pop - net};
          for (int64_t i = 0; i < 3; ++i) {
            double s = tape_sigmoid(row[i * H + h]);
            double slope = tape_gain * tape_reach * s * (1 - s);
            grad_moves[step * 3 * H + i * H + h] = padding ? real(0) : (real)(slope * of_gate[i]);
          }
        }
      }
    }
  });
}

}  // namespace RAMGRU_ISA
}  // namespace ramgru
