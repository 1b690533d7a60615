// AVX-512 with VNNI, under the names that kernels.cpp uses; avx2.hpp has the same.

#include <immintrin.h>

#include <cstdint>

namespace {

using Floats = __m512;
using Sums = __m512i;
constexpr int64_t kLanes = 16;

inline Floats load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, Floats x) { _mm512_storeu_ps(p, x); }
inline Floats load_first(const float* p, int64_t count) { return _mm512_maskz_loadu_ps((1u << count) - 1, p); }
inline Floats all(float x) { return _mm512_set1_ps(x); }
inline Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
inline Floats subtract(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
inline Floats multiply(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
inline Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
inline Floats larger(Floats a, Floats b) { return _mm512_max_ps(a, b); }
inline Floats rounded(Floats x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline Floats clamped(Floats x, float low, float high) { return _mm512_min_ps(_mm512_max_ps(x, all(low)), all(high)); }
inline float sum(Floats x) { return _mm512_reduce_add_ps(x); }
using Doubles = __m512d;
inline Doubles no_doubles() { return _mm512_setzero_pd(); }
inline Doubles add_exactly(Doubles total, Floats x) {
  const Doubles low = _mm512_cvtps_pd(_mm512_castps512_ps256(x));
  const Doubles high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));
  return _mm512_add_pd(total, _mm512_add_pd(low, high));
}
inline double sum(Doubles x) { return _mm512_reduce_add_pd(x); }
inline Sums nothing() { return _mm512_setzero_si512(); }
inline Floats converted(Sums x) { return _mm512_cvtepi32_ps(x); }
inline Sums load_sums(const void* p) { return _mm512_loadu_si512(p); }
inline Sums all(int32_t x) { return _mm512_set1_epi32(x); }
inline Sums subtract(Sums a, Sums b) { return _mm512_sub_epi32(a, b); }
inline void store_first(uint8_t* p, Sums x, int64_t count) {
  _mm_mask_storeu_epi8(p, (1u << count) - 1, _mm512_cvtepi32_epi8(x));
}
inline void store_sums(void* p, Sums x) { _mm512_storeu_si512(p, x); }
inline Sums add(Sums a, Sums b) { return _mm512_add_epi32(a, b); }
inline Sums nearest(Floats x) { return _mm512_cvtps_epi32(x); }
inline Sums shifted_right(Sums x, Sums bits) { return _mm512_srav_epi32(x, bits); }

// The sum of `low` in the lower half of the result, that of `high` in the upper one.
inline int64_t sums_of(Sums low, Sums high) {
  const Sums each = add(_mm512_unpacklo_epi32(low, high), _mm512_unpackhi_epi32(low, high));
  const __m256i eight = _mm256_add_epi32(_mm512_castsi512_si256(each), _mm512_extracti64x4_epi64(each, 1));
  const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  return _mm_cvtsi128_si64(_mm_add_epi32(four, _mm_unpackhi_epi64(four, four)));
}

// Integers of 16 bits, two in each lane of sums. Of two registers, `low_pairs` and `high_pairs` make pairs, in an order that
// `packed` undoes; it saturates.
inline Floats load(const int16_t* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
}
inline void store_wide(int16_t* p, Floats x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(nearest(x)));
}
inline Sums low_pairs(Sums a, Sums b) { return _mm512_unpacklo_epi16(a, b); }
inline Sums high_pairs(Sums a, Sums b) { return _mm512_unpackhi_epi16(a, b); }
inline Sums packed(Sums low, Sums high) { return _mm512_packs_epi32(low, high); }
inline Sums all_wide(int16_t x) { return _mm512_set1_epi16(x); }
inline Sums add_wide(Sums a, Sums b) { return _mm512_add_epi16(a, b); }
inline Sums clamped_wide(Sums x, int16_t low, int16_t high) {
  return _mm512_min_epi16(_mm512_max_epi16(x, all_wide(low)), all_wide(high));
}
inline Sums magnitudes(Sums x) { return _mm512_abs_epi16(x); }
inline Sums larger(Sums a, Sums b) { return _mm512_max_epu16(a, b); }
inline bool any_over(Sums x, int16_t most) { return _mm512_cmpgt_epu16_mask(x, all_wide(most)) != 0; }

// In assembler, as GCC 12 would copy sums from register to register, and to memory.
inline Sums dot_wide(Sums sums, Sums left, Sums right) {
  asm("vpdpwssd %2, %1, %0" : "+v"(sums) : "v"(left), "v"(right));
  return sums;
}

// Factors of 8 bits, four to a sum. The left ones have no sign: signed ones are moved by kMoved, which adds to the sums.
using NarrowLeft = uint8_t;
using NarrowRight = int8_t;
constexpr int64_t kNarrowGroup = 4;
constexpr int32_t kMoved = 128;

inline Sums dot_narrow(Sums sums, Sums left, Sums right) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(left), "v"(right));
  return sums;
}

inline void put_narrow(NarrowLeft* p, Floats x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(nearest(x)));
}

// Of integers of 16 bits.
inline void put_narrow(NarrowLeft* p, Sums x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi16_epi8(x));
}

// Of sums that are kept in registers.
constexpr int64_t kTileRows = 4;
constexpr int64_t kTileVectors = 6;
constexpr int64_t kPatch = 8;            // places of a row that are filtered together

bool runs_here() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
}

}  // namespace
