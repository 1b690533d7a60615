// AVX-512 with VNNI, under the names that kernels.cpp uses; avx2.hpp has the same.

#include <immintrin.h>

#include <cstdint>

namespace {

using Floats = __m512;
using Sums = __m512i;
constexpr int64_t kLanes = 16;

inline Floats load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, Floats x) { _mm512_storeu_ps(p, x); }
inline Floats all(float x) { return _mm512_set1_ps(x); }
inline Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
inline Floats subtract(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
inline Floats multiply(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
inline Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
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
inline Sums truncated(Floats x) { return _mm512_cvttps_epi32(x); }

// Factors of 8 bits, four to a sum. The left ones have no sign: signed ones are moved by kMoved, which adds to the sums.
using NarrowLeft = uint8_t;
using NarrowRight = int8_t;
constexpr int64_t kNarrowGroup = 4;
constexpr int32_t kMoved = 128;

// In assembler, as GCC 12 would copy sums from register to register, and to memory.
inline Sums dot_narrow(Sums sums, Sums left, Sums right) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(left), "v"(right));
  return sums;
}

inline void put(NarrowLeft* p, Sums x) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(x)); }

// Factors of 16 bits, two to a sum.
inline Sums dot_wide(Sums sums, Sums left, Sums right) {
  asm("vpdpwssd %2, %1, %0" : "+v"(sums) : "v"(left), "v"(right));
  return sums;
}

inline void put(int16_t* p, Sums x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(x)); }

// Of sums that are kept in registers.
constexpr int64_t kTileRows = 6;
constexpr int64_t kTileVectors = 4;

bool runs_here() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
}

}  // namespace
