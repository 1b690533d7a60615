// Products of factors that lie in registers, for the layers of kernels.cpp.

#include <cstdint>
#include <type_traits>

namespace {

// How factors are read, and how their products are summed; see `product`.
struct Integers {
  using Total = Sums;
  static Total none() { return nothing(); }
  static Sums right(const void* p) { return load_sums(p); }
  static Sums left(const void* p) {
    int32_t group;
    __builtin_memcpy(&group, p, sizeof group);
    return all(group);
  }
};

struct Narrow : Integers {
  using Left = NarrowLeft;
  using Right = NarrowRight;
  static constexpr int64_t group = kNarrowGroup;
  static Sums dot(Sums sums, Sums left, Sums right) { return dot_narrow(sums, left, right); }
};

struct Wide : Integers {
  using Left = int16_t;
  using Right = int16_t;
  static constexpr int64_t group = 2;
  static Sums dot(Sums sums, Sums left, Sums right) { return dot_wide(sums, left, right); }
};

// Of the encoder, which is not exact.
struct Reals {
  using Left = float;
  using Right = float;
  using Total = Floats;
  static constexpr int64_t group = 1;
  static Total none() { return all(0.0f); }
  static Floats left(const float* p) { return all(*p); }
  static Floats right(const float* p) { return load(p); }
  static Floats dot(Floats sums, Floats left, Floats right) { return multiply_add(left, right, sums); }
};

// The sums of products of ROWS rows of `left` with VECTORS blocks of `right`, `(ROWS, VECTORS)`; see `product`.
template <class Factors, int64_t ROWS, int64_t VECTORS>
__attribute__((noinline)) void tile(const typename Factors::Left* left, const typename Factors::Right* right,
                                    int64_t inputs, typename Factors::Total* out) {
  typename Factors::Total sums[ROWS][VECTORS];
  for (int64_t r = 0; r < ROWS; ++r)
    for (int64_t v = 0; v < VECTORS; ++v) sums[r][v] = Factors::none();
  const int64_t block = inputs * kLanes;
  for (int64_t k = 0; k < inputs; k += Factors::group) {
    typename Factors::Total factors[VECTORS];
    for (int64_t v = 0; v < VECTORS; ++v) factors[v] = Factors::right(right + v * block + k * kLanes);
    for (int64_t r = 0; r < ROWS; ++r) {
      const typename Factors::Total everywhere = Factors::left(left + r * inputs + k);
      for (int64_t v = 0; v < VECTORS; ++v) sums[r][v] = Factors::dot(sums[r][v], everywhere, factors[v]);
    }
  }
  for (int64_t r = 0; r < ROWS; ++r)
    for (int64_t v = 0; v < VECTORS; ++v) out[r * VECTORS + v] = sums[r][v];
}

template <class Factors, int64_t VECTORS, class Take>
void columns(const typename Factors::Left* left, const typename Factors::Right* right, int64_t inputs, int64_t rows,
             int64_t output, Take take) {
  typename Factors::Total sums[kTileRows * VECTORS];
  right += output * inputs;
  for (int64_t row = 0; row < rows;) {
    const int64_t count = row + kTileRows <= rows ? kTileRows : 1;
    (count == 1 ? tile<Factors, 1, VECTORS> : tile<Factors, kTileRows, VECTORS>)(left + row * inputs, right, inputs, sums);
    for (int64_t n = 0; n < count; ++n, ++row)
      take(std::integral_constant<int64_t, VECTORS>(), row, output, sums + n * VECTORS);
  }
}

// The sums of products of `rows` rows of `left`, `(rows, inputs)`, with all of `right`,
// `(outputs / kLanes, inputs / group, kLanes, group)`, given to `take(vectors, row, output, sums)`: so many vectors, of
// kLanes sums each. What `take` needs it had better hold itself: for all that a compiler knows, a byte that it writes is a part
// of anything else.
template <class Factors, class Take>
void product(const typename Factors::Left* left, const typename Factors::Right* right, int64_t inputs, int64_t rows,
             int64_t outputs, Take take) {
  int64_t output = 0;
  for (; output + kTileVectors * kLanes <= outputs; output += kTileVectors * kLanes)
    columns<Factors, kTileVectors>(left, right, inputs, rows, output, take);
  if (kTileVectors > 4 && output + 4 * kLanes <= outputs) {
    columns<Factors, 4>(left, right, inputs, rows, output, take);
    output += 4 * kLanes;
  }
  for (; output + 2 * kLanes <= outputs; output += 2 * kLanes)
    columns<Factors, 2>(left, right, inputs, rows, output, take);
  if (output < outputs) columns<Factors, 1>(left, right, inputs, rows, output, take);
}

// What `product` takes, of a `take(row, output, sums)` for one vector.
template <class Take>
auto one_by_one(Take take) {
  return [take](auto vectors, int64_t row, int64_t output, const auto* sums) {
    for (int64_t v = 0; v < vectors; ++v) take(row, output + v * kLanes, sums[v]);
  };
}

}  // namespace
