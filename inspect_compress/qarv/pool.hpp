// Threads that share a layer's places with the one that asks. Which thread computes a place does not matter to its result.

#pragma once

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>

// One of all files of a library, and of this library alone.
namespace threads __attribute__((visibility("hidden"))) {

class Pool {
 public:
  // Calls `work(start, stop)` for parts of 0 … count, at most `step` long, until all are done, on this thread and on
  // others, `threads` in all. On this thread alone where the others are at work for somebody else.
  template <class Work>
  void share(int64_t count, int64_t step, int64_t threads, const Work& work) {
    std::unique_lock<std::mutex> asked(asked_, std::defer_lock);
    if (threads < 2 || count <= step || !asked.try_lock()) {
      work(0, count);
      return;
    }
    const int64_t helpers = start(std::min(threads, (count + step - 1) / step) - 1);
    {
      const std::lock_guard<std::mutex> lock(state_);
      work_ = &work;
      call_ = [](const void* one, int64_t start, int64_t stop) { (*static_cast<const Work*>(one))(start, stop); };
      step_ = step;
      parts_.clear();
      for (int64_t n = 0; n <= helpers; ++n)
        parts_.emplace_back(n * count / (helpers + 1), (n + 1) * count / (helpers + 1));
      open_ = true;
      ++number_;
    }
    for (int64_t n = 0; n < helpers; ++n) wake_.notify_one();
    take_parts(0);
    {
      const std::lock_guard<std::mutex> lock(state_);
      open_ = false;
    }
    for (int64_t tries = 0; helping_.load(std::memory_order_acquire) > 0; ++tries)
      if (tries > kTries) std::this_thread::yield();
  }

 private:
  // Has so many threads wait, or as many as the system lets there be.
  int64_t start(int64_t helpers) {
    try {
      for (; started_ < helpers; ++started_) std::thread([this, number = started_ + 1] { wait_and_help(number); }).detach();
    } catch (const std::system_error&) {
    }
    return std::min(helpers, started_);
  }

  static constexpr int64_t kTries = 60000;  // most of a millisecond, in which the next layer may have begun
  static constexpr int64_t kTurn = 500;     // of them, after which another program may have the processor

  // What a thread may take next of a share that is its own as long as others have work: so much of what it computed in the
  // layer before lies near it.
  struct Parts {
    Parts(int64_t first, int64_t last) : next(first), end(last) {}
    alignas(64) std::atomic<int64_t> next;
    int64_t end;
  };

  void take_parts(size_t own) {
    for (size_t n = 0; n < parts_.size(); ++n) {
      Parts& parts = parts_[(own + n) % parts_.size()];
      for (int64_t start; (start = parts.next.fetch_add(step_)) < parts.end;)
        call_(work_, start, std::min(parts.end, start + step_));
    }
  }

  void wait_and_help(size_t own) {
    for (uint64_t seen = 0;;) {
      for (int64_t tries = 0; tries < kTries && number_.load(std::memory_order_relaxed) == seen; ++tries)
        if (tries % kTurn)
          __builtin_ia32_pause();
        else
          std::this_thread::yield();
      {
        std::unique_lock<std::mutex> lock(state_);
        wake_.wait(lock, [&] { return number_ != seen; });
        seen = number_;
        if (!open_) continue;
        ++helping_;
      }
      take_parts(own);
      helping_.fetch_sub(1, std::memory_order_release);
    }
  }

  std::mutex asked_;                       // held by the thread that asks
  int64_t started_ = 0;
  std::mutex state_;                       // of all below
  std::condition_variable wake_;
  std::atomic<uint64_t> number_{0};        // of the work that was shared last
  bool open_ = false;                      // whether it may still have parts
  std::atomic<int64_t> helping_{0};        // threads, without the one that asks
  const void* work_;
  void (*call_)(const void*, int64_t, int64_t);
  int64_t step_;
  std::deque<Parts> parts_;                // of each thread
};

inline std::atomic<Pool*> made{nullptr};

// Made when first asked for, so that loading the library runs nothing that this processor may not have. Never deleted:
// its threads end with the process. A forked process has none of them, and begins anew.
inline Pool& pool() {
  [[maybe_unused]] static const int forked = pthread_atfork(nullptr, nullptr, [] { made = nullptr; });
  if (!made) {
    Pool *expected = nullptr, *fresh = new Pool;
    if (!made.compare_exchange_strong(expected, fresh)) delete fresh;
  }
  return *made;
}

}  // namespace threads
