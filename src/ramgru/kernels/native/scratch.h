// Uninitialised working memory, aligned to cache lines; filled with NaN in the sanitized build.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

namespace ramgru {
inline namespace RAMGRU_ISA {

// Blocks of powers of two from 64 bytes to 64 KiB that a thread has freed and takes again: a step of a
// stream takes a hundred of them.
class SpareBlocks {
 public:
  ~SpareBlocks() {
    for (Block* block : first_)
      while (block) std::free(std::exchange(block, block->next));
  }
  static std::size_t whole(std::size_t bytes) {  // what a block has at least
    bytes = (bytes + 63) / 64 * 64;
    return bytes > most ? bytes : std::size_t{1} << order(bytes);
  }
  void* take(std::size_t whole) {
    if (whole <= most)
      if (Block*& first = first_[order(whole) - 6]) return std::exchange(first, first->next);
    return std::aligned_alloc(64, whole);
  }
  void give(void* block, std::size_t whole) {
    if (block == nullptr || whole > most) return std::free(block);
    Block*& first = first_[order(whole) - 6];
    first = new (block) Block{first};
  }

 private:
  struct Block {
    Block* next;
  };
#ifdef RAMGRU_POISON
  static constexpr std::size_t most = 0;  // the sanitizer sees every block
#else
  static constexpr std::size_t most = std::size_t{1} << 16;
#endif
  static int order(std::size_t bytes) { return 64 - __builtin_clzll(bytes - 1); }

  Block* first_[11] = {};
};

inline thread_local SpareBlocks spare_blocks;

template <class T>
class Scratch {
 public:
  explicit Scratch(std::int64_t size = 0) { reserve(size); }
  ~Scratch() { spare_blocks.give(data_, bytes_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  // Makes room for `size` values; growing loses the old ones.
  T* reserve(std::int64_t size) {
    if (size > size_) {
      spare_blocks.give(data_, bytes_);
      data_ = nullptr, size_ = 0;
      bytes_ = SpareBlocks::whole((std::size_t)size * sizeof(T) + 64);
      data_ = static_cast<T*>(spare_blocks.take(bytes_));
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
  std::size_t bytes_ = 0;
};

}  // namespace RAMGRU_ISA
}  // namespace ramgru
