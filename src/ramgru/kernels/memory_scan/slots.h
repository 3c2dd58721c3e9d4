// Slots: the rows of a compact table for the cells that one (sequence, head) touches.
//
// One walk over time handles integers alone. Cells get slots in the order of their first touch; a
// reset frees all slots. No array has an entry for each of N cells unless N is small. Letters as in
// `reference.py`.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#include "../native/scratch.h"

namespace ramgru {
inline namespace RAMGRU_ISA {

using std::int32_t;
using std::int64_t;

// The operator's inputs (shapes: `reference.py`), null if absent.
struct MemoryInputs {
  int64_t bytes, threads;
  int64_t B, T, H, D;
  int64_t K, J;         // the most writes and reads of a head at a step
  int64_t A, Q;         // numbers of a row that are its tag, or 0; match and null: H or B H
  int64_t N, P;         // cells; places of initial_cells
  int64_t G, R, C;      // sets of fresh factors, H or B H; their rows and columns
  int64_t dense_final;  // whether the final memory has all N rows
  int64_t written_only;  // whether the final memory leaves out the cells that were only given
  int64_t slices;       // parts of the width D, each a work item
  int64_t versions;     // bytes of rows that a segment of the backward walk may make
  const int64_t* first_write;  // (H + 1,) by head, its first of the writes of a step; their number
  const int64_t* first_read;
  const int64_t* write_index;
  const void* write_weight;
  const void* gate;
  const void* candidate;
  const int64_t* read_index;
  const void* read_weight;
  const int64_t* initial_cells;
  const void* initial_rows;
  const void* fresh_left;
  const void* fresh_right;
  const bool* reset;
  const int64_t* lengths;
  const void* query;
  const void* match;
  const void* null;

  int64_t writes() const { return first_write[H]; }  // of all heads at a step
  int64_t reads() const { return first_read[H]; }
  int64_t writes(int64_t h) const { return first_write[h + 1] - first_write[h]; }
  int64_t reads(int64_t h) const { return first_read[h + 1] - first_read[h]; }
  int64_t write_at(int64_t step, int64_t h) const { return step * writes() + first_write[h]; }
  int64_t read_at(int64_t step, int64_t h) const { return step * reads() + first_read[h]; }
  bool tagged() const { return A > 0; }
  int64_t output_width() const { return tagged() ? D - A + 1 : D; }
  bool dense_initial() const { return initial_rows && !initial_cells; }
  // Whether cells may hold other values than zeros before they are written.
  bool has_base() const { return initial_rows || fresh_left; }
  // Whether cells that are not in initial_cells may.
  bool has_base_everywhere() const { return dense_initial() || fresh_left; }
  int64_t final_places() const { return (written_only ? 0 : P) + T * K; }  // if not dense_final
  int64_t events() const { return T * (has_base() ? K + J : K); }
  int64_t most_slots() const { return P + (N < events() ? N : events()); }
};

// The slot of one access (0 is the row of zeros, never written), with a flag at the first touch in
// a chain (the accesses of a cell between two resets) or in a segment of steps.
struct Touch {
  static constexpr int32_t chain = 1, segment = 2;
  int32_t code;
  int32_t number;  // of the K writes or of the J reads
  bool none() const { return code < 0; }
  int32_t slot() const { return code >> 2; }
  bool begins_chain() const { return code & chain; }
  bool enters_segment() const { return code & segment; }  // its chain began in an earlier one
  bool is_first() const { return code & 3; }
};

// The accesses of one step: K writes, then the reads of cells that have a slot. Other reads find
// zeros, or nothing at all.
struct Touches {
  const Touch* touch;
  int64_t size;
  const Touch& operator[](int64_t e) const { return touch[e]; }
};

class MemorySlots {
 public:
  MemorySlots(const MemoryInputs& a, int64_t segment_steps)
      : a_(a), segment_steps_(segment_steps), touches_(a.T * (a.K + a.J)),
        sizes_(a.T) {
    int64_t most = a.most_slots() + 1;
    cells_.reserve(most);
    places_.reserve(most);
    seen_.reserve(most);
    written_.reserve(most);
    entered_.reserve(a.T / segment_steps + 2);
    direct_ = a.N <= 4 * (a.events() + a.P) && a.N < (int64_t{1} << 31);
    if (direct_)
      std::memset(table_.reserve(a.N), 0, a.N * sizeof(int32_t));
    else
      resize(1024);
  }

  // Walk sequence and head r = b H + h.
  void walk(int64_t r) {
    const MemoryInputs& a = a_;
    int64_t b = r / a.H, h = r % a.H;
    forget();
    K_ = a.writes(h), J_ = a.reads(h);
    length_ = a.lengths ? a.lengths[b] : a.T;
    first_reset_ = length_;
    most_first_ = first_here_ = entered_total_ = 0;
    segment_ = -1;
    peak_ = 0;
    const int64_t* given = a.initial_cells + r * a.P;
    given_ = a.P;
    while (given_ > 0 && given[given_ - 1] < 0) --given_;
    for (int64_t p = 0; p < given_; ++p) {  // slot p + 1, used or not
      int64_t cell = given[p];
      if (cell >= 0) {
        slot_of<true>(cell);
      } else {
        cells_[++count_] = -1;
        seen_[count_] = -1;
      }
      written_[count_] = cell >= 0 && !a.written_only;
    }
    for (int64_t t = 0; t < length_; ++t) {
      if (t % segment_steps_ == 0) {
        ++segment_;
        entered_[segment_] = entered_total_;
        most_first_ = std::max(most_first_, first_here_);
        first_here_ = 0;
      }
      if (a.reset && a.reset[b * a.T + t]) {
        if (first_reset_ == length_) first_reset_ = t;
        forget();
      }
      const int64_t* writes = a.write_index + a.write_at(b * a.T + t, h);
      const int64_t* reads = a.read_index + a.read_at(b * a.T + t, h);
      for (int64_t k = 0; k < K_ + 7; k += 8) __builtin_prefetch(writes + 8 * a.writes() + k);
      for (int64_t j = 0; j < J_ + 7; j += 8) __builtin_prefetch(reads + 8 * a.reads() + j);
      Touch* touch = touches_.get() + t * (K_ + J_);
      for (int64_t k = 0; k < K_; ++k) {
        if (writes[k] < 0) {
          touch[k] = {-4, (int32_t)k};
          continue;
        }
        int32_t slot = slot_of<true>(writes[k]);
        touch[k] = touch_slot(slot, k);
        written_[slot] = true;
      }
      Touch* end = touch + K_;
      for (int64_t j = 0; j < J_; ++j) {
        if (reads[j] < 0) continue;
        int32_t slot = a.has_base_everywhere() ? slot_of<true>(reads[j]) : slot_of<false>(reads[j]);
        if (slot) *end++ = touch_slot(slot, j);  // else never written: zeros
      }
      sizes_[t] = (int32_t)(end - touch);
    }
    entered_[segment_ + 1] = entered_total_;
    most_first_ = std::max(most_first_, first_here_);
    peak_ = std::max<int64_t>(peak_, count_);
  }

  Touches touches(int64_t t) const { return {touches_.get() + t * (K_ + J_), sizes_[t]}; }
  int64_t length() const { return length_; }
  int64_t given() const { return given_; }  // places of initial_cells up to the last that is used
  bool ever_reset() const { return first_reset_ < length_; }
  bool before_resets(int64_t t) const { return t < first_reset_; }
  int64_t count() const { return count_; }  // slots 1 .. count are in use at the end
  int64_t peak() const { return peak_; }    // the highest slot ever in use
  int64_t segments() const { return segment_ + 1; }
  int64_t entered_before(int64_t segment) { return entered_[segment]; }  // touches so far
  int64_t most_first() const { return most_first_; }  // first touches of one segment, at most

  // At the end of the walk.
  int64_t find(int64_t cell) { return slot_of<false>(cell); }
  int64_t cell(int64_t slot) { return cells_[slot]; }
  bool was_touched(int64_t slot) { return seen_[slot] >= 0; }

  struct Held {
    int64_t cell;
    int64_t slot;
  };
  // The cells written or given since the last reset, ascending: Held[size].
  std::pair<const Held*, int64_t> held() {
    Held* held = held_.reserve(2 * count_);
    int64_t size = 0;
    for (int64_t s = 1; s <= count_; ++s)
      if (written_[s]) held[size++] = {cells_[s], s};
    Held* other = held + count_;
    for (int shift = 0; shift < 64 && (a_.N - 1) >> shift; shift += 8) {
      int64_t start[257] = {};
      for (int64_t i = 0; i < size; ++i) ++start[1 + (held[i].cell >> shift & 255)];
      for (int d = 0; d < 256; ++d) start[d + 1] += start[d];
      for (int64_t i = 0; i < size; ++i) other[start[held[i].cell >> shift & 255]++] = held[i];
      std::swap(held, other);
    }
    return {held, size};
  }

 private:
  Touch touch_slot(int32_t slot, int64_t number) {
    bool first = seen_[slot] != segment_, begun = seen_[slot] >= 0;
    int32_t flags = first ? (begun ? Touch::segment : Touch::chain) : 0;
    entered_total_ += first & begun;
    first_here_ += first;
    seen_[slot] = segment_;
    return {slot << 2 | flags, (int32_t)number};
  }

  // The slot of a cell; 0 if it has none and add is false.
  template <bool add>
  int32_t slot_of(int64_t cell) {
    int64_t place = cell;
    if (direct_) {
      if (int32_t slot = table_[cell]; slot || !add) return slot;
    } else {
      for (place = hash(cell); int32_t slot = table_[place]; place = (place + 1) & (size_ - 1))
        if (cells_[slot] == cell) return slot;
      if (!add) return 0;
      if (2 * (count_ + 1) > size_) {
        resize(2 * size_);
        for (place = hash(cell); table_[place];) place = (place + 1) & (size_ - 1);
      }
    }
    ++count_;
    cells_[count_] = cell;
    places_[count_] = (int32_t)place;
    seen_[count_] = -1;
    written_[count_] = false;
    return table_[place] = (int32_t)count_;
  }

  void forget() {
    for (int64_t s = 1; s <= count_; ++s)
      if (cells_[s] >= 0) table_[places_[s]] = 0;
    peak_ = std::max<int64_t>(peak_, count_);
    count_ = 0;
  }

  int64_t hash(int64_t cell) const {
    return (int64_t)((std::uint64_t)cell * 0x9e3779b97f4a7c15u >> shift_);
  }

  // Open addressing with `size` places, a power of two; 0 marks an empty place.
  void resize(int64_t size) {
    std::memset(table_.reserve(size), 0, size * sizeof(int32_t));
    size_ = size;
    for (shift_ = 64; size > 1; size /= 2) --shift_;
    for (int64_t s = 1; s <= count_; ++s) {
      if (cells_[s] < 0) continue;
      int64_t place = hash(cells_[s]);
      while (table_[place]) place = (place + 1) & (size_ - 1);
      table_[place] = (int32_t)s;
      places_[s] = (int32_t)place;
    }
  }

  const MemoryInputs& a_;
  int64_t segment_steps_;
  Scratch<Touch> touches_;      // (T, K + J): `Touches` of each step
  Scratch<int32_t> sizes_;      // (T,) their sizes
  Scratch<int32_t> table_;      // slots, by cell or by hash
  Scratch<int64_t> cells_;      // by slot
  Scratch<int32_t> places_;     // by slot, in the table
  Scratch<int32_t> seen_;       // by slot: the last segment that touched it, or -1
  Scratch<bool> written_;       // by slot: written, or given at the start
  Scratch<int64_t> entered_;    // by segment
  Scratch<Held> held_;
  bool direct_;
  int64_t K_ = 0, J_ = 0;       // writes and reads of the head
  int64_t size_ = 0, shift_ = 0;
  int64_t count_ = 0, peak_ = 0, length_ = 0, given_ = 0, first_reset_ = 0;
  int64_t most_first_ = 0, first_here_ = 0, entered_total_ = 0;
  int32_t segment_ = -1;
};

}  // namespace RAMGRU_ISA
}  // namespace ramgru
