// Uninitialised working memory, aligned to cache lines; filled with NaN in the sanitized build.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

namespace ramgru {
inline namespace RAMGRU_ISA {

template <class T>
class Scratch {
 public:
  explicit Scratch(std::int64_t size = 0) { reserve(size); }
  ~Scratch() { std::free(data_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  // Makes room for `size` values; growing loses the old ones.
  T* reserve(std::int64_t size) {
    if (size > size_) {
      std::free(data_);
      std::size_t bytes = ((std::size_t)size * sizeof(T) + 127) / 64 * 64;
      data_ = static_cast<T*>(std::aligned_alloc(64, bytes));
      if (data_ == nullptr) throw std::bad_alloc();
      size_ = size;
    }
#ifdef RAMGRU_POISON
    if (size > 0) std::memset(static_cast<void*>(data_), 0xff, (std::size_t)size * sizeof(T));
#endif
    return data_;
  }

  T& operator[](std::int64_t i) { return data_[i]; }
  const T& operator[](std::int64_t i) const { return data_[i]; }
  T* get() { return data_; }
  const T* get() const { return data_; }

 private:
  T* data_ = nullptr;
  std::int64_t size_ = 0;
};

}  // namespace RAMGRU_ISA
}  // namespace ramgru
