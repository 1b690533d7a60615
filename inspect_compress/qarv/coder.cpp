// The range coder of docs/format.md, for whole batches of symbols: the bytes that compiled_coder.py's peer,
// range_coder.py, makes and reads with constriction.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "buffer.hpp"
#include "pool.hpp"

namespace {

constexpr int64_t kPrecision = 24;                       // tables.py: PRECISION
constexpr int64_t kGuessBits = 10;                       // compiled_coder.py: GUESS_BITS
constexpr int64_t kEscapeBits = 12;                      // of each half of an escaped value
constexpr int64_t kTables = 256;                         // that a batch's rows can name
constexpr int64_t kSorted = 1 << 14;                     // positions that are worth a thread's while
constexpr int64_t kNear = 6;                             // entries to look at before the others are searched
constexpr uint32_t kLikely = 1 << (kPrecision - 1);
constexpr uint64_t kLeastRange = uint64_t{1} << 32;

}  // namespace

extern "C" {

// Entry i of a table begins at `starts[i]` of 2^24, and the last is followed by 2^24.
struct Tables {
  const uint32_t* starts;              // all tables, one after another
  const int64_t* first;                // (tables): where in `starts` each begins
  const uint16_t* guesses;             // (tables, 2^kGuessBits): the entry that holds the first number of each part
  const int32_t* radii;                // (tables)
};

// The interval that the symbols so far have left, `range` numbers from `lower` on, below the words in `bytes`.
struct Encoder {
  uint64_t lower, range;
  uint8_t* bytes;
  int64_t size;
};

// The number that was read, counted from where the interval begins.
struct Decoder {
  uint64_t offset, range;
  const uint8_t* bytes;
  int64_t size, position;
};
}

namespace {

// The positions of a batch in the order in which they are coded: by row, and then as they are.
class ByRow {
 public:
  ByRow(const uint8_t* rows, int64_t count, int64_t threads) : order_(count), ends_(kTables) {
    const int64_t parts = std::clamp<int64_t>(count / kSorted, 1, threads), size = (count + parts - 1) / parts;
    std::vector<uint32_t> next(parts * kTables);  // of each part: how many of a row it has, and then where they go
    const auto in_parts = [&](const auto& work) {
      threads::pool().share(parts, 1, threads, [&](int64_t first, int64_t last) {
        for (int64_t part = first; part < last; ++part)
          for (int64_t n = part * size; n < std::min(count, (part + 1) * size); ++n)
            work(n, next[part * kTables + rows[n]]);
      });
    };
    in_parts([](int64_t, uint32_t& here) { ++here; });
    uint32_t before = 0;
    for (int64_t row = 0; row < kTables; ++row) {
      for (int64_t part = 0; part < parts; ++part) {
        const uint32_t here = next[part * kTables + row];
        next[part * kTables + row] = before;
        before += here;
      }
      ends_[row] = before;
    }
    in_parts([to = +order_](int64_t n, uint32_t& here) { to[here++] = static_cast<uint32_t>(n); });
  }

  // Where the positions of a row begin, and end.
  const uint32_t* begin(int64_t row) const { return order_ + (row ? ends_[row - 1] : 0); }
  const uint32_t* end(int64_t row) const { return order_ + ends_[row]; }

 private:
  Buffer<uint32_t> order_;
  std::vector<uint32_t> ends_;
};

inline bool escapes(int32_t symbol, int32_t radius) { return symbol > radius || symbol < -radius; }

inline void put(Encoder& encoder, uint64_t start, uint64_t width) {
  const uint64_t scale = encoder.range >> kPrecision;
  const uint64_t moved = encoder.lower + scale * start;
  if (moved < encoder.lower)
    for (int64_t n = encoder.size; ++encoder.bytes[--n] == 0;) continue;
  encoder.lower = moved;
  encoder.range = scale * width;
  if (encoder.range >= kLeastRange) return;
  for (int64_t shift = 56; shift >= 32; shift -= 8)
    encoder.bytes[encoder.size++] = static_cast<uint8_t>(encoder.lower >> shift);
  encoder.lower <<= 32;
  encoder.range <<= 32;
}

inline void advance(Decoder& decoder, uint64_t scale, uint64_t start, uint64_t width) {
  decoder.offset -= scale * start;
  decoder.range = scale * width;
  if (decoder.range >= kLeastRange) return;
  decoder.range <<= 32;
  for (int64_t byte = 0; byte < 4; ++byte, ++decoder.position)
    decoder.offset = decoder.offset << 8 | (decoder.position < decoder.size ? decoder.bytes[decoder.position] : 0);
}

// The entry that holds a number below 2^24.
inline int64_t entry_of(const Tables& tables, int64_t row, const uint32_t* starts, uint64_t number) {
  const int64_t part = number >> (kPrecision - kGuessBits);
  int64_t entry = tables.guesses[(row << kGuessBits) + part];
  for (int64_t tries = 0; starts[entry + 1] <= number; ++entry)
    if (++tries > kNear) {
      const uint32_t* end = starts + 2 * tables.radii[row] + 2;
      return std::upper_bound(starts + entry, end, static_cast<uint32_t>(number)) - starts - 1;
    }
  return entry;
}

// The symbols at positions whose table is the same. A symbol 0 that is likely is tried first: what follows need not wait for
// a division then. False as `run_decode`.
bool decode_row(Decoder& given, const Tables& tables, int64_t row, const uint32_t* begin, const uint32_t* end,
                int32_t* symbols, bool& escaped) {
  Decoder decoder = given;
  const int32_t radius = tables.radii[row];
  const uint32_t* starts = tables.starts + tables.first[row];
  const uint64_t zero = starts[radius], width = starts[radius + 1] - zero;
  for (const uint32_t* n = begin; n < end; ++n) {
    const uint64_t scale = decoder.range >> kPrecision;
    if (width >= kLikely && decoder.offset - scale * zero < scale * width) {
      symbols[*n] = 0;
      advance(decoder, scale, zero, width);
      continue;
    }
    const uint64_t number = decoder.offset / scale;
    if (number >> kPrecision) return false;
    const int64_t entry = entry_of(tables, row, starts, number);
    symbols[*n] = static_cast<int32_t>(entry) - radius;
    escaped |= symbols[*n] > radius;
    advance(decoder, scale, starts[entry], starts[entry + 1] - starts[entry]);
  }
  given = decoder;
  return true;
}

}  // namespace

extern "C" {

// Adds a batch; `bytes` has room for 7 more for each symbol. Rows name tables.
void run_encode(Encoder* encoder, const Tables* tables, const int32_t* symbols, const uint8_t* rows, int64_t count,
                int64_t threads) {
  const ByRow order(rows, count, threads);
  for (int64_t row = 0; row < kTables; ++row)
    for (const uint32_t* n = order.begin(row); n < order.end(row); ++n) {
      const int32_t symbol = symbols[*n], radius = tables->radii[row];
      const uint32_t* starts = tables->starts + tables->first[row];
      const int32_t entry = escapes(symbol, radius) ? 2 * radius + 1 : symbol + radius;
      put(*encoder, starts[entry], starts[entry + 1] - starts[entry]);
    }
  constexpr uint64_t width = uint64_t{1} << (kPrecision - kEscapeBits);
  for (int64_t n = 0; n < count; ++n) {
    if (!escapes(symbols[n], tables->radii[rows[n]])) continue;
    const uint32_t value = symbols[n] < 0 ? -2 * symbols[n] - 1 : 2 * symbols[n];
    put(*encoder, (value >> kEscapeBits) * width, width);
    put(*encoder, (value & ((1 << kEscapeBits) - 1)) * width, width);
  }
}

// The next batch. False where the bytes are not what symbols of these tables become.
int64_t run_decode(Decoder* decoder, const Tables* tables, const uint8_t* rows, int64_t count, int32_t* symbols,
                   int64_t threads) {
  bool escaped = false;
  const ByRow order(rows, count, threads);
  for (int64_t row = 0; row < kTables; ++row)
    if (order.begin(row) < order.end(row) &&
        !decode_row(*decoder, *tables, row, order.begin(row), order.end(row), symbols, escaped))
      return false;
  constexpr uint64_t width = uint64_t{1} << (kPrecision - kEscapeBits);
  for (int64_t n = 0; escaped && n < count; ++n) {
    if (symbols[n] <= tables->radii[rows[n]]) continue;
    uint32_t value = 0;
    for (int64_t half = 0; half < 2; ++half) {
      const uint64_t scale = decoder->range >> kPrecision, number = decoder->offset / scale;
      if (number >> kPrecision) return false;
      const uint64_t digit = number >> (kPrecision - kEscapeBits);
      value = value << kEscapeBits | static_cast<uint32_t>(digit);
      advance(*decoder, scale, digit * width, width);
    }
    symbols[n] = value % 2 ? -static_cast<int32_t>(value / 2) - 1 : static_cast<int32_t>(value / 2);
  }
  return true;
}
}
