// Depthwise filters of kSide × kSide, for patches of places. What lies outside a picture is zero.

#include <algorithm>
#include <cstdint>

#include "buffer.hpp"

namespace {

constexpr int64_t kReach = 2;            // of a filter, to each side
constexpr int64_t kSide = 2 * kReach + 1;
constexpr int64_t kBand = 2;             // rows of a patch, and of what goes through a layer together
constexpr int64_t kColumns = 32;         // of what goes through a layer together, in the nearest cache
constexpr int64_t kAround = kBand + 2 * kReach;
constexpr int64_t kPairs = kAround / 2;  // of rows around a patch

}  // namespace

extern "C" {

// For integers of 16 bits. Channels are a multiple of 2 · kLanes, and come in the order of `low_pairs` and `high_pairs`.
struct Filter {
  int64_t channels;
  const int16_t* factors;              // (kPairs, kBand, kSide, channels, 2): by which each row of a patch takes two rows
  const int32_t* bias;                 // (channels)
  const float* unit;                   // (channels): what 1 of a sum stands for, a power of two
};

// For floats. Channels are a multiple of kLanes.
struct RealFilter {
  int64_t channels;
  const float* factors;                // (kSide, kSide, channels)
  const float* bias;                   // (channels)
};
}

namespace {

// `rows` are those around a patch, each from kReach places before it on. `out` is `(kBand, …, channels)`, with `line` numbers
// in a row.
void filter_patch(const Filter& by, const int16_t* const* rows, int64_t line, float* out) {
  const int64_t channels = by.channels;
  for (int64_t c = 0; c < channels; c += kLanes) {
    const bool high = c / kLanes % 2;
    const int64_t both = c - high * kLanes;
    Sums sums[kBand][kPatch];
    const Sums bias = load_sums(by.bias + c);
    for (int64_t r = 0; r < kBand; ++r)
      for (int64_t p = 0; p < kPatch; ++p) sums[r][p] = bias;
#pragma GCC unroll 3
    for (int64_t pair = 0; pair < kPairs; ++pair) {
      const int16_t *upper = rows[2 * pair] + both, *lower = rows[2 * pair + 1] + both;
      Sums factors[kBand][kSide];
#pragma GCC unroll 2
      for (int64_t r = 0; r < kBand; ++r)
#pragma GCC unroll 5
        for (int64_t tap = 0; tap < kSide; ++tap)
          factors[r][tap] = load_sums(by.factors + (((pair * kBand + r) * kSide + tap) * channels + c) * 2);
#pragma GCC unroll 16
      for (int64_t column = 0; column < kPatch + 2 * kReach; ++column) {
        const Sums above = load_sums(upper + column * channels), below = load_sums(lower + column * channels);
        const Sums features = high ? high_pairs(above, below) : low_pairs(above, below);
#pragma GCC unroll 2
        for (int64_t r = 0; r < kBand; ++r)
#pragma GCC unroll 5
          for (int64_t tap = 0; tap < kSide; ++tap)
            if (tap <= column && column - tap < kPatch)
              sums[r][column - tap] = dot_wide(sums[r][column - tap], features, factors[r][tap]);
      }
    }
    const Floats unit = load(by.unit + c);
    for (int64_t r = 0; r < kBand; ++r)
      for (int64_t p = 0; p < kPatch; ++p)
        store(out + r * line + p * channels + c, multiply(converted(sums[r][p]), unit));
  }
}

void filter_patch(const RealFilter& by, const float* const* rows, int64_t line, float* out) {
  const int64_t channels = by.channels;
  for (int64_t c = 0; c < channels; c += kLanes) {
    Floats sums[kBand][kPatch];
    const Floats bias = load(by.bias + c);
    for (int64_t r = 0; r < kBand; ++r)
      for (int64_t p = 0; p < kPatch; ++p) sums[r][p] = bias;
#pragma GCC unroll 6
    for (int64_t row = 0; row < kAround; ++row) {
#pragma GCC unroll 16
      for (int64_t column = 0; column < kPatch + 2 * kReach; ++column) {
        const Floats features = load(rows[row] + column * channels + c);
#pragma GCC unroll 2
        for (int64_t r = 0; r < kBand; ++r)
#pragma GCC unroll 5
          for (int64_t tap = 0; tap < kSide; ++tap)
            if (r <= row && row - r < kSide && tap <= column && column - tap < kPatch)
              sums[r][column - tap] =
                  multiply_add(features, load(by.factors + ((row - r) * kSide + tap) * channels + c), sums[r][column - tap]);
      }
    }
    for (int64_t r = 0; r < kBand; ++r)
      for (int64_t p = 0; p < kPatch; ++p) store(out + r * line + p * channels + c, sums[r][p]);
  }
}

// Features, `(pictures, height, width, channels)`, as patches of them are filtered.
template <class AnyFilter, class Number>
class Filtered {
 public:
  Filtered(const AnyFilter& by, const Number* f, int64_t height, int64_t width)
      : by_(by), f_(f), height_(height), width_(width), edges_(kAround * kLine * by.channels),
        outside_(kLine * by.channels) {
    std::fill_n(+outside_, kLine * by.channels, Number{0});
  }

  // The filtered features of `columns` places, at most kColumns, from `(y, x)` on, and of those below, to
  // `(kBand, kColumns, channels)`. What is there behind the last of them is written to as well.
  void band(int64_t picture, int64_t y, int64_t x, int64_t columns, float* out) const {
    const int64_t channels = by_.channels;
    const Number* f = f_ + picture * height_ * width_ * channels;
    for (int64_t column = 0; column < columns; column += kPatch) {
      const Number* rows[kAround];
      const int64_t left = x + column - kReach;
      for (int64_t row = 0; row < kAround; ++row) rows[row] = around(f, row, y + row - kReach, left);
      filter_patch(by_, rows, kColumns * channels, out + column * channels);
    }
  }

 private:
  static constexpr int64_t kLine = kPatch + 2 * kReach;

  // The places from `(y, x)` on, a patch wide with its surroundings: as they are where they lie inside, else copied.
  const Number* around(const Number* f, int64_t row, int64_t y, int64_t x) const {
    const int64_t channels = by_.channels;
    if (y < 0 || y >= height_) return outside_;
    if (x >= 0 && x + kLine <= width_) return f + (y * width_ + x) * channels;
    Number* copy = edges_ + row * kLine * channels;
    const int64_t first = std::max<int64_t>(x, 0), last = std::min(x + kLine, width_);
    std::fill_n(copy, (first - x) * channels, Number{0});
    std::copy_n(f + (y * width_ + first) * channels, (last - first) * channels, copy + (first - x) * channels);
    std::fill_n(copy + (last - x) * channels, (x + kLine - last) * channels, Number{0});
    return copy;
  }

  const AnyFilter& by_;
  const Number* f_;
  int64_t height_, width_;
  Buffer<Number> edges_, outside_;
};

}  // namespace
