// AVX2, under the names that kernels.cpp uses; avx512.hpp has the same.

#include <immintrin.h>

#include <cstdint>

namespace {

using Floats = __m256;
using Sums = __m256i;
constexpr int64_t kLanes = 8;

inline Floats load(const float* p) { return _mm256_loadu_ps(p); }
inline void store(float* p, Floats x) { _mm256_storeu_ps(p, x); }
inline Floats load_first(const float* p, int64_t count) {
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int32_t>(count)), lanes));
}
inline Floats all(float x) { return _mm256_set1_ps(x); }
inline Floats add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
inline Floats subtract(Floats a, Floats b) { return _mm256_sub_ps(a, b); }
inline Floats multiply(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
inline Floats multiply_add(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
inline Floats larger(Floats a, Floats b) { return _mm256_max_ps(a, b); }
inline Floats rounded(Floats x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline Floats clamped(Floats x, float low, float high) { return _mm256_min_ps(_mm256_max_ps(x, all(low)), all(high)); }
using Doubles = __m256d;
inline Doubles no_doubles() { return _mm256_setzero_pd(); }
inline Doubles add_exactly(Doubles total, Floats x) {
  const Doubles low = _mm256_cvtps_pd(_mm256_castps256_ps128(x));
  const Doubles high = _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1));
  return _mm256_add_pd(total, _mm256_add_pd(low, high));
}
inline double sum(Doubles x) {
  const __m128d pair = _mm_add_pd(_mm256_castpd256_pd128(x), _mm256_extractf128_pd(x, 1));
  return _mm_cvtsd_f64(_mm_add_sd(pair, _mm_unpackhi_pd(pair, pair)));
}
inline double sum(Floats x) { return sum(add_exactly(no_doubles(), x)); }
inline Sums nothing() { return _mm256_setzero_si256(); }
inline Floats converted(Sums x) { return _mm256_cvtepi32_ps(x); }
inline Sums load_sums(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline Sums all(int32_t x) { return _mm256_set1_epi32(x); }
inline Sums subtract(Sums a, Sums b) { return _mm256_sub_epi32(a, b); }
inline void store_first(uint8_t* p, Sums x, int64_t count) {
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
  const int64_t bytes = _mm_cvtsi128_si64(_mm_packus_epi16(words, words));
  __builtin_memcpy(p, &bytes, count);
}
inline void store_sums(void* p, Sums x) { _mm256_storeu_si256(static_cast<__m256i*>(p), x); }
inline Sums add(Sums a, Sums b) { return _mm256_add_epi32(a, b); }
inline Sums nearest(Floats x) { return _mm256_cvtps_epi32(x); }
inline Sums shifted_right(Sums x, Sums bits) { return _mm256_srav_epi32(x, bits); }

// The sum of `low` in the lower half of the result, that of `high` in the upper one.
inline int64_t sums_of(Sums low, Sums high) {
  const Sums each = add(_mm256_unpacklo_epi32(low, high), _mm256_unpackhi_epi32(low, high));
  const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(each), _mm256_extracti128_si256(each, 1));
  return _mm_cvtsi128_si64(_mm_add_epi32(four, _mm_unpackhi_epi64(four, four)));
}

// Integers of 16 bits, two in each lane of sums. Of two registers, `low_pairs` and `high_pairs` make pairs, in an order that
// `packed` undoes; it saturates.
inline Floats load(const int16_t* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
inline void store_wide(int16_t* p, Floats x) {
  const Sums whole = nearest(x);
  const __m128i low = _mm256_castsi256_si128(whole), high = _mm256_extracti128_si256(whole, 1);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_packs_epi32(low, high));
}
inline Sums low_pairs(Sums a, Sums b) { return _mm256_unpacklo_epi16(a, b); }
inline Sums high_pairs(Sums a, Sums b) { return _mm256_unpackhi_epi16(a, b); }
inline Sums packed(Sums low, Sums high) { return _mm256_packs_epi32(low, high); }
inline Sums all_wide(int16_t x) { return _mm256_set1_epi16(x); }
inline Sums add_wide(Sums a, Sums b) { return _mm256_add_epi16(a, b); }
inline Sums clamped_wide(Sums x, int16_t low, int16_t high) {
  return _mm256_min_epi16(_mm256_max_epi16(x, all_wide(low)), all_wide(high));
}
inline Sums magnitudes(Sums x) { return _mm256_abs_epi16(x); }
inline Sums larger(Sums a, Sums b) { return _mm256_max_epu16(a, b); }
inline bool any_over(Sums x, int16_t most) {
  const Sums over = _mm256_subs_epu16(x, all_wide(most));
  return !_mm256_testz_si256(over, over);
}

inline Sums dot_wide(Sums sums, Sums left, Sums right) { return add(sums, _mm256_madd_epi16(left, right)); }

// Factors of 8 bits, too: their products would be added in 16 bits, which saturate.
using NarrowLeft = int16_t;
using NarrowRight = int16_t;
constexpr int64_t kNarrowGroup = 2;
constexpr int32_t kMoved = 0;

inline Sums dot_narrow(Sums sums, Sums left, Sums right) { return dot_wide(sums, left, right); }

inline void put_narrow(NarrowLeft* p, Floats x) { store_wide(p, x); }

// Of integers of 16 bits.
inline void put_narrow(NarrowLeft* p, Sums x) { store_sums(p, x); }

// Of sums that are kept in registers.
constexpr int64_t kTileRows = 2;
constexpr int64_t kTileVectors = 4;
constexpr int64_t kPatch = 4;            // places of a row that are filtered together

bool runs_here() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

}  // namespace
