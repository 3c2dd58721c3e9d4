// One step of one head of one sequence, for each kind of head: find its cells, write, read.
#pragma once

#include <cmath>

#include "../address/nearest.h"
#include "../memory_scan/step.h"
#include "../native/scratch.h"
#include "../tape/tape.h"
#include "arguments.h"

namespace ramgru {
inline namespace RAMGRU_ISA {

// The cells of one head, what a step writes into them, and where its read goes.
template <class real>
struct Cells {
  int64_t D, tag;         // numbers of a value, and of the tag behind it
  real* rows;             // (N, D + tag)
  const real* candidate;  // (D,)
  real* output;           // (D,), and with tags the null share behind it
  int64_t most;
  std::int64_t* written;  // (most,), or null: the cells that are written, and
  real* before;           // (most, D + tag) their rows before

  real* row(int64_t cell) const { return rows + cell * (D + tag); }
  template <bool writes>
  void prefetch(int64_t cell) const {
    ramgru::prefetch<writes>(row(cell), D + tag);
  }

  // cell(k): the number of the k-th cell; key (tag,)
  template <class Cell>
  void write(int64_t K, const real* weight, real gate, const real* key, Cell&& cell) const {
    for (int64_t k = 0; written && k < most; ++k) {
      written[k] = k < K ? cell(k) : -1;
      if (k < K) std::memcpy(before + k * (D + tag), row(cell(k)), (D + tag) * sizeof(real));
    }
    auto value = [&](int64_t k) { return row(cell(k)); };
    auto tags = tag_of(D, value);
    memory_write(K, weight, gate, candidate, D, value, value);
    memory_write(K, weight, gate, key, tag, tags, tags);
  }

  template <class Cell>
  void read(int64_t J, const real* weight, Cell&& cell) const {
    memory_read(J, weight, output, D, [&](int64_t j) { return row(cell(j)); });
    if (tag) output[D] = 0;
  }
};

// Heads with keys, with the working memory of one thread.
template <class real>
class KeyStep {
 public:
  // part (window, B, keyed, A): of keys, what each step adds to them, the latest first
  KeyStep(const LayerStep& a, const Hash<real>& hash, const real* part)
      : a_(a), hash_(hash), part_(part), address_(hash, a.K, a.J), tagged_(a.J, a.tag),
        written_(a.keyed * a.K), found_(a.keyed * a.J), write_(a.keyed * a.K),
        read_weight_(a.keyed * a.J), unit_(a.keyed * a.A), query_(a.keyed * a.A), weight_(a.J),
        key_(a.A) {}

  // One sequence's cells of head h, whose rows are on their way when `step` comes to them.
  void find(int64_t b, int64_t h, const Cells<real>& cells) {
    real sharpness = static_cast<const real*>(a_.sharpness)[h];
    int64_t W = a_.writes[h], J = a_.reads[h], A = a_.A, offset = a_.offsets[h];
    address_.limit(W, J);
    address_.find(h, key(b, h, 0), sharpness);
    std::memcpy(&found_[h * a_.J], address_.cell(), J * sizeof(int64_t));
    std::memcpy(&read_weight_[h * a_.J], address_.read(), J * sizeof(real));
    std::memcpy(&query_[h * A], address_.unit(), A * sizeof(real));
    for (int64_t j = 0; j < J; ++j) cells.template prefetch<false>(found_[h * a_.J + j]);
    if (offset) address_.find(h, key(b, h, offset), sharpness);
    std::memcpy(&written_[h * a_.K], address_.cell(), W * sizeof(int64_t));
    std::memcpy(&write_[h * a_.K], address_.write(), W * sizeof(real));
    std::memcpy(&unit_[h * A], address_.unit(), A * sizeof(real));
    for (int64_t k = 0; k < W; ++k) cells.template prefetch<true>(written_[h * a_.K + k]);
  }
  // Writes and reads the cells that `find` found.
  void step(int64_t h, const Cells<real>& cells, real gate) {
    cells.write(a_.writes[h], &write_[h * a_.K], gate, &unit_[h * a_.A],
                [&](int64_t k) { return written_[h * a_.K + k]; });
    read(h, &found_[h * a_.J], &read_weight_[h * a_.J], &query_[h * a_.A], cells);
  }

  // Head h of all sequences, whose keys are looked up side by side. cells(b) and gate(b)
  template <class CellsOf, class Gate>
  void step_all(int64_t h, CellsOf&& cells, Gate&& gate) {
    int64_t K = std::max(a_.writes[h], a_.reads[h]);
    auto with = [&](auto size) { step_blocks(h, size, cells, gate); };
    if constexpr (std::is_same_v<real, float>) {  // lists of the usual lengths stay in registers
      if (K == 2) return with(std::integral_constant<int64_t, 2>{});
      if (K == 16) return with(std::integral_constant<int64_t, 16>{});
    }
    with(K);
  }

 private:
  template <class Size, class CellsOf, class Gate>
  void step_blocks(int64_t h, Size K, CellsOf&& cells, Gate&& gate) {
    constexpr int64_t tile = token_tile<real>;
    real sharpness = static_cast<const real*>(a_.sharpness)[h];
    int64_t W = a_.writes[h], J = a_.reads[h], offset = a_.offsets[h], A = a_.A;
    BlockAddress<real, Size> block(hash_, K, J);
    Scratch<real> keys(2 * tile * A), write(tile * W), read_weight(tile * J);
    Scratch<real> query(tile * A), unit(tile * A);
    Scratch<int64_t> written(tile * W), found(tile * J);
    const real* rows[tile];
    for (int64_t first = 0; first < a_.B; first += tile) {
      int64_t count = std::min(tile, a_.B - first);
      auto find = [&](int64_t before, real* to, bool writes, bool reads) {
        for (int64_t i = 0; i < count; ++i) {
          std::memcpy(to + i * A, key(first + i, h, before), A * sizeof(real));
          rows[i] = to + i * A;
        }
        block.find(h, rows, count, sharpness, [&](int64_t i, auto cell, auto w, auto r) {
          for (int64_t k = 0; writes && k < W; ++k)
            written[i * W + k] = cell[k * lanes<real>], write[i * W + k] = w[k * lanes<real>];
          for (int64_t j = 0; reads && j < J; ++j)
            found[i * J + j] = cell[j * lanes<real>], read_weight[i * J + j] = r[j * lanes<real>];
          const Cells<real> mine = cells(first + i);
          for (int64_t k = 0; writes && k < W; ++k) mine.template prefetch<true>(written[i * W + k]);
          for (int64_t j = 0; reads && j < J; ++j) mine.template prefetch<false>(found[i * J + j]);
        });
      };
      real *now = keys.get(), *then = offset ? now + tile * A : now;
      find(0, now, !offset, true);
      if (offset) find(offset, then, true, false);
      for (int64_t i = 0; a_.tag && i < count; ++i) {  // before writes that wait for their rows
        std::memcpy(&query[i * A], address_.to_unit(now + i * A), A * sizeof(real));
        std::memcpy(&unit[i * A], address_.to_unit(then + i * A), A * sizeof(real));
      }
      for (int64_t i = 0; i < count; ++i) {
        const Cells<real> mine = cells(first + i);
        mine.write(W, write.get() + i * W, gate(first + i), &unit[i * A],
                   [&](int64_t k) { return written[i * W + k]; });
        read(h, &found[i * J], &read_weight[i * J], &query[i * A], mine);
      }
    }
  }

  // Head h reads its cells, given their weights before tags are compared to the query.
  void read(int64_t h, const int64_t* cell, const real* weight, const real* query,
            const Cells<real>& cells) {
    int64_t J = a_.reads[h];
    if (!a_.tag) return cells.read(J, weight, [&](int64_t j) { return cell[j]; });
    auto found = [&](int64_t j) { return j < J ? cells.row(cell[j]) : nullptr; };
    for (int64_t j = 0; j < a_.J; ++j) weight_[j] = j < J ? weight[j] : 0;
    real match = std::exp(static_cast<const real*>(a_.log_match)[h]);
    real null = match * static_cast<const real*>(a_.null)[h];
    tagged_.weigh(weight_.get(), query, match, null, tag_of(cells.D, found));
    memory_read(J, tagged_.weight(), cells.output, cells.D, found);
    cells.output[cells.D] = tagged_.share();
  }

  // The key that ends `offset` steps before.
  const real* key(int64_t b, int64_t h, int64_t offset) {
    auto taps = static_cast<const real*>(a_.taps);
    each_vector<real>(a_.A, [&](int64_t i, auto n) {
      vec<real> sum{};
      for (int64_t o = a_.skips[h]; o < a_.skips[h] + a_.spans[h]; ++o) {
        int64_t place = ((o + offset) * a_.B + b) * a_.keyed + h;
        vec<real> step = load_n(part_ + place * a_.A + i, n);
        sum += taps ? load_n(taps + (h * a_.steps + o) * a_.A + i, n) * step : step;
      }
      store_n(key_.get() + i, sum, n);
    });
    return key_.get();
  }

  const LayerStep& a_;
  const Hash<real>& hash_;
  const real* part_;
  TokenAddress<real> address_;
  TaggedRead<real> tagged_;
  Scratch<int64_t> written_, found_;  // cells of each head, in places for K and J of them
  Scratch<real> write_, read_weight_;
  Scratch<real> unit_, query_;        // of each head: the keys of its writes and of its reads
  Scratch<real> weight_, key_;
};

// Lag head n: the ring of `lag.py`.
template <class real>
void lag_step(const LayerStep& a, int64_t b, int64_t n, const Cells<real>& cells,
              const real* no_key) {
  int64_t place = wrapped(a.place[b], a.ring), first = n * a.lag_reads;
  real whole = 1;
  cells.write(1, &whole, whole, no_key, [&](int64_t) { return place; });
  cells.read(a.lag_reads, static_cast<const real*>(a.lag_weight) + first,
             [&](int64_t j) { return wrapped(place - a.lag[first + j], a.ring); });
  if (n == 0) a.next_place[b] = (place + 1) % a.ring;  // all heads have the same
}

// Tape head n, which reads backwards if n is odd, by the equations of `tape.h`. moves (3 tapes,)
template <class real>
void tape_step(const LayerStep& a, int64_t b, int64_t n, const Cells<real>& cells, real gate,
               const real* no_key, const real* moves) {
  TapeMove m(moves, n, a.tapes, false, false);
  int64_t place = b * 2 * a.tapes + n;
  double begin = a.position[place], before = a.position[place + a.tapes];
  double written = m.write(begin), seen = m.read(before, written);
  a.next_position[place] = written;
  a.next_position[place + a.tapes] = seen;
  Stretch<real> pushed(begin, m.push, a.N), popped(m.low(before, seen), 1, a.N);
  cells.write(2, pushed.weight, gate, no_key, [&](int64_t k) { return pushed.cell[k]; });
  cells.read(2, popped.weight, [&](int64_t j) { return popped.cell[j]; });
}

}  // namespace RAMGRU_ISA
}  // namespace ramgru
