// Memory for what a thread computes on its way through a layer.

#pragma once

#include <cstdint>
#include <memory>
#include <new>

namespace {

// Numbers that begin where a register's could. Nothing is written there yet.
template <class Number>
class Buffer {
 public:
  explicit Buffer(int64_t count) : numbers_(static_cast<Number*>(operator new[](count * sizeof(Number), kAlignment))) {}
  Number* operator+(int64_t n) const { return numbers_.get() + n; }
  operator Number*() const { return numbers_.get(); }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Free {
    void operator()(Number* numbers) const { operator delete[](numbers, kAlignment); }
  };
  std::unique_ptr<Number[], Free> numbers_;
};

}  // namespace
