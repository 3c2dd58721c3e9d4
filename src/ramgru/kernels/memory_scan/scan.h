// `memory_scan` on CPUs. A work item walks over time for one sequence, one head and a slice of the
// width, with the rows of the touched cells in a compact table (`slots.h`, `step.h`).
//
// Backward saves nothing of forward: gradient checkpointing over time. It recomputes a segment of
// steps, keeps the versions of the rows that the writes make, and walks back over them with one
// gradient for each touched cell. If all versions together are too many, there are several
// segments, and one forward walk notes the rows that each segment finds at its start. Working
// memory then grows with the root of the number of steps.
#pragma once

#include <limits>

#include "../native/parallel.h"
#include "cells.h"
#include "slots.h"
#include "step.h"
#include "tag.h"

namespace ramgru {
inline namespace RAMGRU_ISA {

struct MemoryForward : MemoryInputs {
  void* outputs;   // (B, T, H, output_width), like candidate; 0 in the padding
  int64_t* cells;  // (B, H, P + T K), or empty
  void* rows;      // (B, H, P + T K, D), or (B, H, N, D) if dense_final; null if not wanted
};

struct MemoryBackward : MemoryInputs {
  const void* grad_output;
  const void* grad_rows;    // as the final rows, or null
  void* grad_write_weight;  // (slices, B, T, writes)
  void* grad_gate;          // (slices, B, T, H)
  void* grad_candidate;
  void* grad_read_weight;   // (slices, B, T, reads)
  void* grad_initial_rows;  // null where the input is, or where no one wants the gradient
  void* grad_fresh_left;
  void* grad_fresh_right;
  void* grad_query;
  double* grad_match;  // (B, H)
  double* grad_null;   // (B, H)
};

constexpr int64_t memory_ahead = 4;  // prefetch for the step that is so many steps ahead

// A work item: row r = b H + h, and the numbers first .. first + size - 1 of each row. The first
// `values` of them are read, the others are the tag (then the only slice is the whole row).
template <class storage>
struct MemoryItem {
  using real = real_of<storage>;
  const MemoryInputs& a;
  int64_t slice, first, size, values;
  int64_t r = 0, b = 0, h = 0;
  int64_t K = 0, J = 0;  // writes and reads of the head
  int64_t given = 0;     // slots of the initial cells

  MemoryItem(const MemoryInputs& a, int64_t slice) : a(a), slice(slice) {
    int64_t each = ((a.D + a.slices - 1) / a.slices + 15) / 16 * 16;
    first = std::min(slice * each, a.D);
    size = std::min(each, a.D - first);
    values = size - a.A;
  }

  void of(int64_t row) {
    r = row, b = row / a.H, h = row % a.H;
    K = a.writes(h), J = a.reads(h);
  }
  int64_t step(int64_t t) const { return (b * a.T + t) * a.H + h; }
  int64_t write_at(int64_t t) const { return a.write_at(b * a.T + t, h); }
  int64_t read_at(int64_t t) const { return a.read_at(b * a.T + t, h); }
  const real* write_weight(int64_t t) const { return (const real*)a.write_weight + write_at(t); }
  const real* read_weight(int64_t t) const { return (const real*)a.read_weight + read_at(t); }
  real gate(int64_t t) const { return ((const real*)a.gate)[step(t)]; }
  int64_t at(int64_t t) const { return step(t) * a.D + first; }
  int64_t output_at(int64_t t) const { return step(t) * a.output_width() + first; }
  const storage* candidate(int64_t t) const { return (const storage*)a.candidate + at(t); }
  const real* query(int64_t t) const { return (const real*)a.query + step(t) * a.A; }
  real match() const { return ((const real*)a.match)[r % a.Q]; }
  real null() const { return ((const real*)a.null)[r % a.Q]; }
  const int64_t* read_index(int64_t t) const { return a.read_index + read_at(t); }
  int64_t cell(int64_t t, int64_t e, Touch touch) const {  // of access e of a step
    return e < K ? a.write_index[write_at(t) + touch.number] : read_index(t)[touch.number];
  }
  int64_t left(int64_t cell) const { return (r % a.G * a.R + cell / a.C) * a.D + first; }
  int64_t right(int64_t cell) const { return (r % a.G * a.C + cell % a.C) * a.D + first; }
  int64_t row(int64_t i, int64_t rows) const { return (r * rows + i) * a.D + first; }

  // Offset of a cell in the initial memory, or -1; valid before the first reset.
  int64_t initial(int64_t cell, int64_t slot) const {
    if (a.dense_initial()) return row(cell, a.N);
    return slot > 0 && slot <= given ? row(slot - 1, a.P) : -1;
  }

  void prefetch_given(Touch touch) const {
    if (touch.begins_chain() && touch.slot() > 0 && touch.slot() <= given)
      ramgru::prefetch((const real*)a.initial_rows + row(touch.slot() - 1, a.P), size);
  }

  // The row of a cell before its first write.
  void base(real* to, int64_t cell, int64_t slot, bool before_resets) const {
    int64_t given = before_resets ? initial(cell, slot) : -1;
    if (given >= 0)
      std::memcpy(to, (const real*)a.initial_rows + given, size * sizeof(real));
    else
      fresh(to, cell);
  }
  void fresh(real* to, int64_t cell) const {
    if (!a.fresh_left) {
      std::memset(to, 0, size * sizeof(real));
      return;
    }
    auto l = (const real*)a.fresh_left + left(cell);
    auto r = (const real*)a.fresh_right + right(cell);
    each_block<real>(size, [&](int64_t i, auto n) {
      store_block(to + i, load_block(l + i, n) + load_block(r + i, n), n);
    });
  }
};

// Rows of `size` values; row 0 is zeros and never written.
template <class real>
struct MemoryRows {
  Scratch<real> rows;
  int64_t size;

  void reserve(int64_t number, int64_t values) {
    size = (values + 15) / 16 * 16;  // whole cache lines
    std::memset(rows.reserve(number * size), 0, size * sizeof(real));
  }
  real* operator[](int64_t i) { return rows.get() + i * size; }
  void clear(int64_t last) {  // rows 1 .. last
    std::memset((*this)[1], 0, last * size * sizeof(real));
  }
  void prefetch(int64_t i) { ramgru::prefetch((*this)[i], size); }
};

// The writes of a step in a table with a row for each slot.
template <class storage, class real = real_of<storage>>
RAMGRU_INLINE void memory_write_in_place(
    const MemoryItem<storage>& item, int64_t t, Touches touch, MemoryRows<real>& table) {
  auto row = [&](int64_t k) { return touch[k].none() ? nullptr : table[touch[k].slot()]; };
  memory_write(item.K, item.write_weight(t), item.gate(t), item.candidate(t), item.size, row, row);
}

// Initialise the rows of the cells that this step touches first.
template <class storage, class real = real_of<storage>>
void memory_begin_chains(
    const MemoryItem<storage>& item, MemorySlots& slots, int64_t t, MemoryRows<real>& table) {
  Touches touch = slots.touches(t);
  for (int64_t e = 0; e < touch.size; ++e)
    if (touch[e].begins_chain())
      item.base(table[touch[e].slot()], item.cell(t, e, touch[e]), touch[e].slot(),
                slots.before_resets(t));
}

// Copy the final memory of one item from the table at the end of the walk.
template <class storage, class real = real_of<storage>>
void memory_final(
    const MemoryForward& a, const MemoryItem<storage>& item, MemorySlots& slots,
    MemoryRows<real>& table) {
  auto rows = (real*)a.rows;
  bool unreset = !slots.ever_reset();
  auto put = [&](int64_t to, int64_t cell, int64_t slot) {
    if (slots.was_touched(slot))
      std::memcpy(rows + to, table[slot], item.size * sizeof(real));
    else
      item.base(rows + to, cell, slot, unreset);
  };
  if (a.dense_final) {
    for (int64_t cell = 0; cell < a.N; ++cell) {
      int64_t at = item.row(cell, a.N);
      if (a.dense_initial() && unreset)
        std::memcpy(rows + at, (const real*)a.initial_rows + at, item.size * sizeof(real));
      else
        item.fresh(rows + at, cell);
    }
    for (int64_t slot = 1; slot <= slots.count(); ++slot)
      if (int64_t cell = slots.cell(slot); cell >= 0) put(item.row(cell, a.N), cell, slot);
    return;
  }
  auto [held, size] = slots.held();
  int64_t places = a.final_places();
  for (int64_t i = 0; i < places; ++i) {
    if (item.slice == 0) a.cells[item.r * places + i] = i < size ? held[i].cell : -1;
    if (i < size)
      put(item.row(i, places), held[i].cell, held[i].slot);
    else
      std::memset(rows + item.row(i, places), 0, item.size * sizeof(real));
  }
}

template <class storage>
void memory_scan_forward(const MemoryForward& a) {
  using real = real_of<storage>;
  check_cells(a.initial_cells, a.B * a.H * a.P, a.N);
  parallel(a.threads, a.B * a.H * a.slices, [&](Work& work) {
    MemorySlots slots(a, a.T + 1);
    MemoryRows<real> table;
    TaggedRead<real> tagged(a.J, a.A);
    Scratch<real> compact(a.J);  // weights of the reads that find a row
    for (int64_t next; work.next(next);) {
      MemoryItem<storage> item(a, next % a.slices);
      item.of(next / a.slices);
      table.reserve(a.most_slots() + 1, item.size);
      slots.walk(item.r);
      item.given = slots.given();
      bool zeros = !a.has_base() && !a.reset;  // all cells begin with zeros
      if (zeros) table.clear(slots.peak());
      auto outputs = (storage*)a.outputs;
      for (int64_t t = 0; t < slots.length(); ++t) {
        Touches touch = slots.touches(t);
        if (!zeros) memory_begin_chains(item, slots, t, table);
        if (t + memory_ahead < slots.length()) {
          Touches later = slots.touches(t + memory_ahead);
          prefetch(item.candidate(t + memory_ahead), item.size);
          if (a.tagged()) prefetch(item.query(t + memory_ahead), a.A);
          prefetch(item.read_weight(t + memory_ahead), item.J);
          prefetch<true>(outputs + item.output_at(t + memory_ahead), item.values + 1);
          for (int64_t e = 0; e < later.size; ++e) {
            table.prefetch(later[e].slot());
            item.prefetch_given(later[e]);
          }
        }
        memory_write_in_place(item, t, touch, table);
        int64_t K = item.K, reads = touch.size - K;
        auto number = [&](int64_t i) { return touch[K + i].number; };
        auto row = [&](int64_t i) { return table[touch[K + i].slot()]; };
        storage* y = outputs + item.output_at(t);
        const real* weight = compact.get();
        if (a.tagged()) {
          const int64_t* index = item.read_index(t);
          tagged.weigh(
              item.J, item.read_weight(t), item.query(t), item.match(), item.null(),
              [&](int64_t j) { return index[j] >= 0; }, reads, number, tag_of(item.values, row));
          weight = tagged.found();
          narrow(y + item.values, tagged.share());
        } else {
          const real* every = item.read_weight(t);
          for (int64_t i = 0; i < reads; ++i) compact[i] = every[number(i)];
        }
        memory_read(reads, weight, y, item.values, row);
      }
      int64_t width = item.values + a.tagged();
      for (int64_t t = slots.length(); t < a.T; ++t)
        std::memset(outputs + item.output_at(t), 0, width * sizeof(storage));
      if (a.rows) memory_final(a, item, slots, table);
    }
  });
}

// Steps of a segment: all steps if their versions fit into a.versions bytes; else about the number
// for which the versions take as much memory as the rows noted at the starts of all segments.
inline int64_t memory_segment(const MemoryInputs& a, int64_t row_bytes) {
  int64_t fit = std::max<int64_t>(1, a.versions / (a.K * row_bytes));
  auto balanced = (int64_t)std::sqrt((double)a.T * a.most_slots() / a.K) + 1;
  return std::max<int64_t>(1, std::min(a.T, std::max(fit, balanced)));
}

// The backward walk of one thread, item after item.
template <class storage>
class MemoryBackwardWalk {
 public:
  using real = real_of<storage>;

  MemoryBackwardWalk(const MemoryBackward& a, int64_t row_bytes)
      : a_(a), steps_(memory_segment(a, row_bytes)), slots_(a, steps_),
        newest_(a.most_slots() + 1), found_(steps_ * (a.K + a.J)),
        products_(a.K + lanes<real>), dots_(std::max(a.K, a.J) + lanes<real>), tagged_(a.J, a.A),
        compact_(a.J), wanted_(a.J) {}

  void run(MemoryItem<storage>& item) {
    slots_.walk(item.r);
    item.given = slots_.given();
    int64_t segments = slots_.segments();
    first_base_ = 1 + steps_ * item.K;
    versions_.reserve(first_base_ + slots_.most_first(), item.size);
    // No one asks for the gradients of the rows that the walk began with.
    bool drops = !a_.grad_initial_rows && !a_.fresh_left && segments == 1;
    last_wanted_ = drops ? first_base_ : std::numeric_limits<int32_t>::max();
    grads_.reserve(slots_.peak() + 1, item.size);
    grads_.clear(slots_.peak());
    from_final_rows(item);
    if (segments > 1) note_rows(item);
    grad_match_ = grad_null_ = 0;
    for (int64_t s = segments; s-- > 0;) {
      int64_t start = s * steps_, end = std::min(start + steps_, slots_.length());
      run_again(item, s, start, end);
      for (int64_t t = end; t-- > start;) step_back(item, t, start);
    }
    pad(item);
    if (a_.tagged()) a_.grad_match[item.r] = grad_match_, a_.grad_null[item.r] = grad_null_;
  }

 private:
  // Gradients of the last rows from the final memory, and of the rows that no step touched.
  void from_final_rows(const MemoryItem<storage>& item) {
    bool unreset = !slots_.ever_reset();
    auto grad_rows = (const real*)a_.grad_rows;
    bool as_given =
        a_.dense_initial() && unreset && grad_rows;  // untouched rows pass gradients on
    int64_t places = a_.dense_initial() ? a_.N : a_.P;
    if (auto initial = (real*)a_.grad_initial_rows)
      for (int64_t i = 0; i < places; ++i) {
        int64_t at = item.row(i, places);
        if (as_given)
          std::memcpy(initial + at, grad_rows + at, item.size * sizeof(real));
        else
          std::memset(initial + at, 0, item.size * sizeof(real));
      }
    if (!grad_rows) return;
    auto take = [&](const real* grad, int64_t cell, int64_t slot) {
      if (slots_.was_touched(slot))
        std::memcpy(grads_[slot], grad, item.size * sizeof(real));
      else
        to_base(item, grad, cell, slot, unreset);
    };
    if (a_.dense_final) {
      for (int64_t slot = 1; slot <= slots_.count(); ++slot)
        if (int64_t cell = slots_.cell(slot); cell >= 0)
          take(grad_rows + item.row(cell, a_.N), cell, slot);
      if (a_.fresh_left && !as_given)
        for (int64_t cell = 0; cell < a_.N; ++cell)
          if (!slots_.find(cell)) to_base(item, grad_rows + item.row(cell, a_.N), cell, 0, false);
      return;
    }
    auto [held, size] = slots_.held();
    for (int64_t i = 0; i < size; ++i)
      take(grad_rows + item.row(i, a_.final_places()), held[i].cell, held[i].slot);
  }

  // Add a gradient to the row that a cell held before its first write.
  void to_base(const MemoryItem<storage>& item, const real* grad, int64_t cell, int64_t slot,
               bool before_resets) {
    int64_t given = before_resets ? item.initial(cell, slot) : -1;
    if (given >= 0) {
      if (!a_.grad_initial_rows) return;
      std::memcpy((real*)a_.grad_initial_rows + given, grad, item.size * sizeof(real));
    } else if (a_.fresh_left) {
      for (real* sum : {(real*)a_.grad_fresh_left + item.left(cell),
                        (real*)a_.grad_fresh_right + item.right(cell)})
        each_block<real>(item.size, [&](int64_t i, auto n) {
          store_block(sum + i, load_block(sum + i, n) + load_block(grad + i, n), n);
        });
    }
  }

  // Walk forward to the last segment and note the rows that each segment finds at its start.
  void note_rows(const MemoryItem<storage>& item) {
    int64_t last = slots_.segments() - 1;
    table_.reserve(slots_.peak() + 1, item.size);
    noted_.reserve(slots_.entered_before(last + 1) + 1, item.size);
    int64_t noted = 0;
    for (int64_t t = 0; t < slots_.length(); ++t) {
      Touches touch = slots_.touches(t);
      for (int64_t e = 0; e < touch.size; ++e)
        if (touch[e].enters_segment())
          std::memcpy(noted_[noted++], table_[touch[e].slot()], item.size * sizeof(real));
      memory_begin_chains(item, slots_, t, table_);
      memory_write_in_place(item, t, touch, table_);
    }
  }

  // Recompute the versions of a segment, and the version that each access finds.
  void run_again(const MemoryItem<storage>& item, int64_t segment, int64_t start, int64_t end) {
    int64_t K = item.K, each = K + item.J;
    int64_t noted = slots_.entered_before(segment), bases = first_base_;
    for (int64_t t = start; t < end; ++t) {
      Touches touch = slots_.touches(t);
      int32_t* found = &found_[(t - start) * each];
      int64_t made = 1 + (t - start) * K;
      for (int64_t e = 0; e < touch.size; ++e) {
        int32_t slot = touch[e].slot();
        if (touch[e].none()) {
          found[e] = slot;
          continue;
        }
        if (touch[e].is_first()) newest_[slot] = begin(item, t, e, touch[e], noted, bases);
        found[e] = newest_[slot];
        if (e < K) newest_[slot] = (int32_t)(made + e);
      }
      if (t + memory_ahead < end) {
        prefetch(item.candidate(t + memory_ahead), item.size);
        Touches later = slots_.touches(t + memory_ahead);
        for (int64_t e = 0; e < later.size; ++e) item.prefetch_given(later[e]);
      }
      memory_write(
          K, item.write_weight(t), item.gate(t), item.candidate(t), item.size,
          [&](int64_t k) { return found[k] < 0 ? nullptr : versions_[found[k]]; },
          [&](int64_t k) { return versions_[made + k]; });
    }
  }

  // -> the number of the version that a first access finds
  int32_t begin(const MemoryItem<storage>& item, int64_t t, int64_t e, Touch touch, int64_t& noted,
                int64_t& bases) {
    if (touch.enters_segment()) {
      std::memcpy(versions_[bases], noted_[noted++], item.size * sizeof(real));
      return (int32_t)bases++;
    }
    if (!a_.has_base()) return 0;
    item.base(versions_[bases], item.cell(t, e, touch), touch.slot(), slots_.before_resets(t));
    return (int32_t)bases++;
  }

  void step_back(const MemoryItem<storage>& item, int64_t t, int64_t start) {
    int64_t K = item.K, J = item.J;
    Touches touch = slots_.touches(t);
    const int32_t* found = &found_[(t - start) * (K + J)];
    real gate = item.gate(t);
    if (t >= start + memory_ahead) {
      prefetch(item.candidate(t - memory_ahead), item.size);
      prefetch((const storage*)a_.grad_output + item.output_at(t - memory_ahead), item.values);
      prefetch(item.read_weight(t - memory_ahead), J);
      prefetch(item.read_index(t - memory_ahead), J);
      if (a_.tagged()) prefetch(item.query(t - memory_ahead), a_.A);
      prefetch<true>((storage*)a_.grad_candidate + item.at(t - memory_ahead), item.size);
      prefetch<true>(grad_read_weight(item, t - memory_ahead), J);
      prefetch<true>(grad_write_weight(item, t - memory_ahead), K);
      if (a_.tagged()) prefetch<true>(grad_query(item, t - memory_ahead), a_.A);
    }
    int64_t reads = touch.size - K;
    auto number = [&](int64_t i) { return touch[K + i].number; };
    auto version = [&](int64_t e) { return found[e] < 0 ? nullptr : versions_[found[e]]; };
    auto read = [&](int64_t i) { return versions_[found[K + i]]; };
    auto grad_of = [&](int64_t e) { return touch[e].none() ? nullptr : grads_[touch[e].slot()]; };
    auto grad_output = (const storage*)a_.grad_output + item.output_at(t);
    real* grad_read = grad_read_weight(item, t);
    auto grad_row = [&](int64_t i) {
      return found[K + i] < last_wanted_ ? grads_[touch[K + i].slot()] : nullptr;
    };
    const real* every = item.read_weight(t);
    const real* weight = compact_.get();
    memory_products(reads, grad_output, item.values, dots_.get(), read);
    if (a_.tagged()) {
      auto tag = tag_of(item.values, read);
      const int64_t* index = item.read_index(t);
      tagged_.weigh(
          J, every, item.query(t), item.match(), item.null(),
          [&](int64_t j) { return index[j] >= 0; }, reads, number, tag);
      weight = tagged_.found();
      tagged_.backward(dots_.get(), widen(grad_output[item.values]), item.match(), number,
                       grad_read, grad_match_, grad_null_);
      tagged_.spread(item.query(t), grad_query(item, t), tag,
                     tag_of(item.values, grad_row));
    } else {
      for (int64_t i = 0; i < reads; ++i) compact_[i] = every[number(i)];
      std::fill_n(grad_read, J, real(0));
      for (int64_t i = 0; i < reads; ++i) grad_read[number(i)] = dots_[i];
    }
    int64_t wanted = 0;
    for (int64_t i = 0; i < reads; ++i)
      if (real* row = grad_row(i)) wanted_[wanted] = row, compact_[wanted++] = weight[i];
    memory_read_backward(wanted, compact_.get(), grad_output, item.values,
                         [&](int64_t i) { return wanted_[i]; });
    const real* write = item.write_weight(t);
    memory_write_backward(K, write, gate, item.candidate(t),
                          (storage*)a_.grad_candidate + item.at(t), item.size, products_.get(),
                          dots_.get(), version, grad_of);
    real* grad_write = grad_write_weight(item, t);
    real grad_gate = 0;
    for (int64_t k = 0; k < K; ++k) {
      grad_write[k] = touch[k].none() ? 0 : dots_[k] * gate;  // g = gate weight
      if (!touch[k].none()) grad_gate += dots_[k] * write[k];
    }
    ((real*)a_.grad_gate)[slice_at(item, a_.H) + item.step(t)] = grad_gate;
    if (!a_.has_base() && !a_.reset) return;
    for (int64_t e = 0; e < touch.size; ++e)
      if (touch[e].begins_chain()) {
        int64_t slot = touch[e].slot();
        to_base(item, grads_[slot], item.cell(t, e, touch[e]), slot, slots_.before_resets(t));
        std::memset(grads_[slot], 0, item.size * sizeof(real));  // for the chain before a reset
      }
  }

  // Where the gradients of an item's slice begin that have `each` numbers a step.
  int64_t slice_at(const MemoryItem<storage>& item, int64_t each) const {
    return item.slice * a_.B * a_.T * each;
  }

  real* grad_read_weight(const MemoryItem<storage>& item, int64_t t) const {
    return (real*)a_.grad_read_weight + slice_at(item, a_.reads()) + item.read_at(t);
  }
  real* grad_write_weight(const MemoryItem<storage>& item, int64_t t) const {
    return (real*)a_.grad_write_weight + slice_at(item, a_.writes()) + item.write_at(t);
  }
  real* grad_query(const MemoryItem<storage>& item, int64_t t) const {
    return (real*)a_.grad_query + item.step(t) * a_.A;
  }

  // Zeros for the steps after the sequence's end.
  void pad(const MemoryItem<storage>& item) {
    for (int64_t t = slots_.length(); t < a_.T; ++t) {
      std::memset((storage*)a_.grad_candidate + item.at(t), 0, item.size * sizeof(storage));
      std::memset(grad_write_weight(item, t), 0, item.K * sizeof(real));
      std::memset(grad_read_weight(item, t), 0, item.J * sizeof(real));
      ((real*)a_.grad_gate)[slice_at(item, a_.H) + item.step(t)] = 0;
      if (a_.tagged()) std::memset(grad_query(item, t), 0, a_.A * sizeof(real));
    }
  }

  const MemoryBackward& a_;
  int64_t steps_, first_base_ = 0;
  int64_t last_wanted_ = 0;    // versions from here on pass no gradient on
  MemorySlots slots_;
  MemoryRows<real> versions_;  // zeros; rows that a segment makes; rows that it finds
  MemoryRows<real> grads_;     // by slot
  MemoryRows<real> table_;     // by slot, in the forward walk
  MemoryRows<real> noted_;     // rows that segments find of chains begun earlier
  Scratch<int32_t> newest_;    // by slot: its newest version
  Scratch<int32_t> found_;     // (steps, K + J): the version that each access finds
  Scratch<vec<real>> products_;
  Scratch<real> dots_;         // of the accesses of a step, in whole vectors
  TaggedRead<real> tagged_;
  Scratch<real> compact_;      // weights of the reads that find a row
  Scratch<real*> wanted_;      // gradients of these rows
  double grad_match_ = 0, grad_null_ = 0;
};

template <class storage>
void memory_scan_backward(const MemoryBackward& a) {
  using real = real_of<storage>;
  check_cells(a.initial_cells, a.B * a.H * a.P, a.N);
  // Sequences that share fresh factors are one item, so that their sums have one order.
  int64_t sets = a.fresh_left ? a.G : a.B * a.H;
  parallel(a.threads, sets * a.slices, [&](Work& work) {
    MemoryBackwardWalk<storage> walk(a, (a.D / a.slices + 1) * sizeof(real));
    for (int64_t next; work.next(next);) {
      MemoryItem<storage> item(a, next % a.slices);
      int64_t set = next / a.slices;
      if (a.fresh_left)
        for (auto [sums, rows] : {std::pair{(real*)a.grad_fresh_left, a.R},
                                  std::pair{(real*)a.grad_fresh_right, a.C}})
          for (int64_t i = set * rows; i < (set + 1) * rows; ++i)
            std::memset(sums + i * a.D + item.first, 0, item.size * sizeof(real));
      for (int64_t r = set; r < a.B * a.H; r += sets) {
        item.of(r);
        walk.run(item);
      }
    }
  });
}

}  // namespace RAMGRU_ISA
}  // namespace ramgru
