// The cells that a state lists. Whoever holds the state can change them behind every check in Python.
#pragma once

#include <cstdint>
#include <stdexcept>

namespace ramgru {
inline namespace RAMGRU_ISA {

// Throws std::out_of_range unless all cells are below N; negative ones stand for none.
inline void check_cells(const std::int64_t* cells, std::int64_t size, std::int64_t N) {
  bool wrong = false;
  for (std::int64_t i = 0; i < size; ++i) wrong |= cells[i] >= N;
  if (wrong) throw std::out_of_range("cells");
}

}  // namespace RAMGRU_ISA
}  // namespace ramgru
