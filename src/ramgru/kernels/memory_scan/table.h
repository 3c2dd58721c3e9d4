// Tables that hold a memory from call to call, so that a call costs the cells that it touches.
//
// One table for each sequence and head, with `capacity` places: N places in the order of the cells,
// or a power of two above twice the cells in use (open addressing). keys[place] is the number of the
// cell there plus 1, 0 for a free place; a cell without a place holds its start.
#pragma once

#include "../native/parallel.h"
#include "../native/scratch.h"
#include "cells.h"
#include "step.h"

namespace ramgru {
inline namespace RAMGRU_ISA {

using std::int32_t;

struct MemoryTables {
  int64_t bytes, threads;
  int64_t tables, H, D, N, capacity;  // tables = B H
  int64_t T, P;                       // steps; cells that are found, looked up or put, of each table
  int64_t R, C;                       // rows and columns of the factors of a learned start
  int32_t* keys;                      // (tables, capacity)
  void* rows;                         // (tables, capacity, D)
};

// The places of one table.
class Places {
 public:
  Places(const MemoryTables& a, int64_t table) : Places(a.keys, a.N, a.capacity, table) {}
  Places(int32_t* keys, int64_t N, int64_t capacity, int64_t table)
      : keys_(keys + table * capacity), first_(table * capacity), mask_(capacity - 1),
        ordered_(capacity == N) {
    for (int64_t size = capacity; size > 1; size /= 2) --shift_;
  }
  int64_t home(int64_t cell) const {
    return ordered_ ? cell : (int64_t)((std::uint64_t)cell * 0x9e3779b97f4a7c15u >> shift_) & mask_;
  }
  // The place of a cell, or the free place where it would be.
  int64_t find(int64_t cell) const {
    int64_t place = home(cell);
    if (!ordered_)
      while (keys_[place] && keys_[place] != cell + 1) place = (place + 1) & mask_;
    return place;
  }
  int32_t& key(int64_t place) const { return keys_[place]; }
  int64_t row(int64_t place) const { return first_ + place; }  // among the rows of all tables
  void prefetch(int64_t cell) const { __builtin_prefetch(keys_ + home(cell)); }

 private:
  int32_t* keys_;
  int64_t first_, mask_, shift_ = 64;
  bool ordered_;
};

constexpr int64_t table_ahead = 16;  // prefetch for the cell that is so many cells ahead

struct MemoryTableFind : MemoryTables {
  const int64_t* first_write;  // as in `MemoryInputs`, with the next four
  const int64_t* first_read;
  const int64_t* write_index;
  const int64_t* read_index;
  const int64_t* lengths;
  int64_t* cells;              // (tables, P) the cells with a place that the steps touch
  int64_t* counts;             // (tables,) their number
};

template <class real>
void memory_table_find(const MemoryTableFind& a) {
  parallel(a.threads, a.tables, [&](Work& work) {
    Scratch<int32_t> seen, distinct(a.P);
    const bool few = a.N <= int64_t{1} << 18;  // a bit for each cell fits into the nearest cache
    Scratch<std::uint64_t> bits(few ? a.N / 64 + 1 : 0);
    for (int64_t r; work.next(r);) {
      int64_t b = r / a.H, h = r % a.H, length = a.lengths ? a.lengths[b] : a.T, n = 0;
      int64_t each = a.first_write[h + 1] - a.first_write[h] + a.first_read[h + 1] - a.first_read[h];
      int64_t size = 16, shift = 60;
      for (; size < 2 * a.T * each; size *= 2) --shift;
      if (few)
        std::memset(bits.get(), 0, (a.N / 64 + 1) * sizeof(std::uint64_t));
      else
        std::memset(seen.reserve(size), 0, size * sizeof(int32_t));
      auto is_new = [&](int64_t cell) {
        if (few) {
          std::uint64_t &word = bits[cell >> 6], bit = std::uint64_t{1} << (cell & 63);
          bool first = !(word & bit);
          word |= bit;
          return first;
        }
        int64_t at = (int64_t)((std::uint64_t)cell * 0x9e3779b97f4a7c15u >> shift);
        while (seen[at] && seen[at] != cell + 1) at = (at + 1) & (size - 1);
        bool first = !seen[at];
        seen[at] = (int32_t)(cell + 1);
        return first;
      };
      auto add = [&](const int64_t* index, const int64_t* first) {
        for (int64_t t = 0; t < length; ++t)
          for (int64_t e = first[h]; e < first[h + 1]; ++e) {
            int64_t cell = index[(b * a.T + t) * first[a.H] + e];
            if (cell < 0) continue;
            distinct[n] = (int32_t)cell;
            n += is_new(cell);  // without a branch, which no processor could predict
          }
      };
      add(a.write_index, a.first_write);
      add(a.read_index, a.first_read);
      Places places(a, r);
      int64_t count = 0;
      for (int64_t i = 0; i < n; ++i) {
        if (i + table_ahead < n) places.prefetch(distinct[i + table_ahead]);
        a.cells[r * a.P + count] = distinct[i];
        count += places.key(places.find(distinct[i])) != 0;
      }
      a.counts[r] = count;
    }
  });
}

struct MemoryTableRows : MemoryTables {
  const int64_t* cells;  // (tables, P), -1 for none, whose row is left as it is
  const void* fresh_left;
  const void* fresh_right;
  void* given;           // (tables, P, D) rows that are put into the tables, or null
  void* found;           // (tables, P, D) the rows before
  int64_t* used;         // (tables,) cells with a place; only where rows are given
};

// Look up rows, and replace them where others are given.
template <class real>
void memory_table_rows(const MemoryTableRows& a) {
  check_cells(a.cells, a.tables * a.P, a.N);
  parallel(a.threads, a.tables, [&](Work& work) {
    const int64_t D = a.D, bytes = D * sizeof(real);
    auto rows = (real*)a.rows;
    for (int64_t r; work.next(r);) {
      Places places(a, r);
      const int64_t *cells = a.cells + r * a.P, h = r % a.H;
      for (int64_t p = 0; p < a.P; ++p) {
        if (p + 2 * table_ahead < a.P && cells[p + 2 * table_ahead] >= 0)
          places.prefetch(cells[p + 2 * table_ahead]);
        if (p + table_ahead < a.P && cells[p + table_ahead] >= 0) {
          const real* row = rows + places.row(places.home(cells[p + table_ahead])) * D;
          for (int64_t i = 0; i < D; i += 64 / (int64_t)sizeof(real)) __builtin_prefetch(row + i);
        }
        int64_t cell = cells[p];
        if (cell < 0) continue;
        int64_t place = places.find(cell);
        real *row = rows + places.row(place) * D, *found = (real*)a.found + (r * a.P + p) * D;
        if (places.key(place)) {
          std::memcpy(found, row, bytes);
        } else if (a.fresh_left) {
          auto left = (const real*)a.fresh_left + (h * a.R + cell / a.C) * D;
          auto right = (const real*)a.fresh_right + (h * a.C + cell % a.C) * D;
          for (int64_t i = 0; i < D; ++i) found[i] = left[i] + right[i];
        } else {
          std::memset(found, 0, bytes);
        }
        if (!a.given) continue;
        if (!places.key(place)) places.key(place) = (int32_t)(cell + 1), ++a.used[r];
        std::memcpy(row, (const real*)a.given + (r * a.P + p) * D, bytes);
      }
    }
  });
}

struct MemoryTableGrow : MemoryTables {  // to P places
  int32_t* to_keys;  // (tables, P) zeros
  void* to_rows;     // (tables, P, D)
};

template <class real>
void memory_table_grow(const MemoryTableGrow& a) {
  parallel(a.threads, a.tables, [&](Work& work) {
    for (int64_t r; work.next(r);) {
      Places from(a, r), to(a.to_keys, a.N, a.P, r);
      for (int64_t p = 0; p < a.capacity; ++p) {
        int32_t key = from.key(p);
        if (!key) continue;
        int64_t place = to.find(key - 1);
        to.key(place) = key;
        std::memcpy((real*)a.to_rows + to.row(place) * a.D, (const real*)a.rows + from.row(p) * a.D,
                    a.D * sizeof(real));
      }
    }
  });
}

}  // namespace RAMGRU_ISA
}  // namespace ramgru
