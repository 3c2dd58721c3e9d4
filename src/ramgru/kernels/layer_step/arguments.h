// The arguments of one step of a layer, in the order of `STEP` in Python. Heads with keys come
// first, then lag heads, then tape heads.
#pragma once

#include <cstdint>

namespace ramgru {

struct LayerStep {
  std::int64_t bytes, threads;
  std::int64_t B, I, C, H, N, D;
  std::int64_t tag;              // numbers of its key that a cell keeps behind its D values, or 0
  std::int64_t controller;       // 0: a minGRU, 1: an exact GRU, 2: a GRU with diagonal weight_hh
  std::int64_t keyed, lags, tapes;                   // numbers of heads of each kind
  std::int64_t K, J, window, A, F, U, steps;         // of keys; most cells written and read
  std::int64_t ring, lag_reads;                      // cells of the ring, lags that a head reads
  std::int64_t most;                                 // most cells that a head of any kind writes
  const void* weight_ih;         // (3 C, I): r, z, n; or (2 C, I): z, n
  const void* weight_hh;         // (3 C, C), (3 C,) if diagonal, or null
  const void* bias_ih;           // or null
  const void* bias_hh;           // or null
  const void* candidate_weight;  // (H D, I)
  const void* candidate_bias;
  const void* gate_weight;       // (H, I)
  const void* gate_bias;
  const void* output_weight;     // (C, I)
  const void* output_bias;
  const void* read_out_weight;   // (C, H D), or (C, H (D + 1)) with tags
  const void* log_match;         // (keyed,), or null without tags
  const void* null;              // (keyed,) in units of match
  const void* sharpness;         // (keyed,)
  const void* move_weight;       // (3 tapes, I): push, jump, pop
  const void* move_bias;
  const void* key_weight;        // (keyed A, I)
  const void* taps;              // (keyed, steps, A), or null: each key is one step
  const void* features;          // of `Hash`
  const void* codes;
  const std::int64_t* lag;       // (lags, lag_reads)
  const void* lag_weight;        // (lags, lag_reads)
  const std::int64_t* offsets;   // (keyed,) a head writes at the key of so many steps before
  const std::int64_t* skips;     // (keyed,) steps from the last step of a key to the current step
  const std::int64_t* spans;     // (keyed,) steps of a key
  const std::int64_t* writes;    // (keyed,) cells that a head writes
  const std::int64_t* reads;     // (keyed,) cells that a head reads
  const std::int64_t* sizes;     // (U,)
  const void* input;             // (B, I)
  const void* hidden;            // (B, C)
  void* rows;                    // (B, H, N, D + tag), changed
  const void* context;           // (B, window - 1, I) the inputs before
  const std::int64_t* place;     // (B,) the cell of the ring that is written
  const double* position;        // (B, 2 tapes) of writes, then of reads
  void* output;                  // (B, C)
  void* next_hidden;             // (B, C)
  void* next_context;            // (B, window - 1, I)
  std::int64_t* next_place;      // (B,)
  double* next_position;         // (B, 2 tapes)
  std::int64_t* written;         // (B, H, most) the cells that the step writes, -1 behind; or null
  void* before;                  // (B, H, most, D + tag) their rows before the step
};

}  // namespace ramgru
