// Parallel loops on torch's own threads, so that no second thread pool competes with them.
//
// Python hands over the entry points of the OpenMP runtime that torch has loaded (`Runtime`).
// Without a runtime, each call starts threads. The assignment of items to threads changes no bit,
// because an item's result depends on the item alone.
#pragma once

#include <atomic>
#include <cstdint>
#include <new>
#include <thread>
#include <vector>

namespace ramgru {

struct Runtime {
  void (*parallel)(void (*)(void*), void*, unsigned threads, unsigned flags);
  int (*thread_number)();
  int (*team_size)();
};

extern Runtime runtime;  // set once by Python, before any kernel runs

inline namespace RAMGRU_ISA {  // else the linker could keep the code of one set for all sets

// body(thread, team) on up to `threads` threads at once; team is their actual number.
template <class Body>
void team(std::int64_t threads, Body&& body) {
  if (threads <= 1) {
    body(std::int64_t{0}, std::int64_t{1});
    return;
  }
  if (runtime.parallel != nullptr) {
    auto entry = [](void* data) {
      (*static_cast<std::remove_reference_t<Body>*>(data))(
          std::int64_t{runtime.thread_number()}, std::int64_t{runtime.team_size()});
    };
    runtime.parallel(entry, &body, (unsigned)threads, 0);
    return;
  }
  std::vector<std::thread> others;
  for (std::int64_t i = 1; i < threads; ++i)
    others.emplace_back([&body, i, threads] { body(i, threads); });
  body(std::int64_t{0}, threads);
  for (auto& other : others) other.join();
}

// The items 0 .. size - 1, handed out one by one.
class Work {
 public:
  explicit Work(std::int64_t size) : size_(size) {}
  bool next(std::int64_t& item) {
    item = next_.fetch_add(1, std::memory_order_relaxed);
    return item < size_;
  }

 private:
  std::atomic<std::int64_t> next_{0};
  std::int64_t size_;
};

// body(work) on up to `threads` threads; each takes items by work.next(item) until none is left.
template <class Body>
void parallel(std::int64_t threads, std::int64_t items, Body&& body) {
  Work work(items);
  std::atomic<bool> failed{false};  // no exception may leave a thread
  team(threads < items ? threads : items, [&](std::int64_t, std::int64_t) {
    try {
      body(work);
    } catch (const std::bad_alloc&) {
      failed = true;
    }
  });
  if (failed) throw std::bad_alloc();
}

// A spinning barrier for the threads of a team. Each thread passes a round counter of its own.
class Barrier {
 public:
  void wait(std::int64_t team, std::int64_t& round) {
    ++round;
    if (team == 1) return;
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == team * round) {
      open_.store(round, std::memory_order_release);
      return;
    }
    for (int spins = 0; open_.load(std::memory_order_acquire) < round; ++spins) {
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
      if (spins > 2000) std::this_thread::yield();  // more threads than processors
    }
  }

 private:
  alignas(64) std::atomic<std::int64_t> arrived_{0};
  alignas(64) std::atomic<std::int64_t> open_{0};
};

}  // namespace RAMGRU_ISA
}  // namespace ramgru
