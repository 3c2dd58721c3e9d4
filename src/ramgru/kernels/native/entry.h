// Exports a kernel under the name that Python looks up: ramgru_<name>_<storage>_<isa>.
//
// A kernel is a template `template <class storage> void name(const Arguments& a)`. Its arguments
// are a struct of 8-byte fields, as `ramgru.kernels.native.arguments` declares it: int64_t bytes
// (of the struct itself) and threads, then int64_t sizes, then pointers, null for an absent tensor.
#pragma once

#include <new>
#include <stdexcept>

#define RAMGRU_API extern "C" __attribute__((visibility("default")))
#define RAMGRU_JOIN(a, b, c) ramgru_##a##_##b##_##c
#define RAMGRU_SYMBOL(name, storage, isa) RAMGRU_JOIN(name, storage, isa)

// Returns 0, 1 if memory ran out, 2 if Python and C++ disagree on the struct, or 3 if a state names a
// cell that no memory has.
#define RAMGRU_EXPORT_AS(name, arguments, storage, symbol)                          \
  RAMGRU_API int RAMGRU_SYMBOL(name, symbol, RAMGRU_ISA)(const ramgru::arguments* a) { \
    if (a->bytes != sizeof *a) return 2;                                            \
    try {                                                                           \
      ramgru::name<storage>(*a);                                                    \
    } catch (const std::bad_alloc&) {                                               \
      return 1;                                                                     \
    } catch (const std::out_of_range&) {                                            \
      return 3;                                                                     \
    }                                                                               \
    return 0;                                                                       \
  }

#define RAMGRU_EXPORT(name, arguments)                               \
  RAMGRU_EXPORT_AS(name, arguments, float, float32)                  \
  RAMGRU_EXPORT_AS(name, arguments, double, float64)                 \
  RAMGRU_EXPORT_AS(name, arguments, ramgru::bfloat16, bfloat16)

// For kernels whose tensors have the dtype of the computation.
#define RAMGRU_EXPORT_WIDE(name, arguments)         \
  RAMGRU_EXPORT_AS(name, arguments, float, float32) \
  RAMGRU_EXPORT_AS(name, arguments, double, float64)
