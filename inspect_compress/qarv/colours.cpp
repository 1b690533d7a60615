// Planes to colours: the pixels of planes.py's from_planes, whose operations these are, each rounded on its own.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "pool.hpp"

namespace {

constexpr int64_t kPlanes = 3;
constexpr int64_t kLines = 16;           // that a thread takes at a time
constexpr int64_t kSamples = 1 << 12;    // of grey, likewise

// Twice the samples of two lines of which `near` is three times as near, and then along the line.
void double_line(const float* __restrict near, const float* __restrict far, int64_t count, float* __restrict line,
                 float* __restrict doubled) {
  for (int64_t n = 0; n < count; ++n) line[n] = near[n] * 0.75f + far[n] * 0.25f;
  const auto between = [](float here, float there) { return here * 0.75f + there * 0.25f; };
  doubled[0] = between(line[0], line[0]);
  for (int64_t n = 0; n + 1 < count; ++n) {
    doubled[2 * n + 1] = between(line[n], line[n + 1]);
    doubled[2 * n + 2] = between(line[n + 1], line[n]);
  }
  doubled[2 * count - 1] = between(line[count - 1], line[count - 1]);
}

// As a byte, still in 32 bits: a compiler takes many samples at once to them, and many of them to bytes, but not all the way.
inline int32_t to_byte(double sample) {
  return static_cast<int32_t>(std::min(std::max(std::nearbyint(sample), 0.0), 255.0));
}

void one_colour(const float* const* lines, const double* factors, const double* zeros, int64_t count,
                int32_t* __restrict values, uint8_t* __restrict out) {
  const float *__restrict grey = lines[0], *__restrict first = lines[1], *__restrict second = lines[2];
  const double a = factors[0], b = factors[1], c = factors[2], zero_a = zeros[0], zero_b = zeros[1], zero_c = zeros[2];
  for (int64_t n = 0; n < count; ++n) {
    const double sum = a * (grey[n] - zero_a) + b * (first[n] - zero_b);
    values[n] = to_byte(sum + c * (second[n] - zero_c));
  }
  for (int64_t n = 0; n < count; ++n) out[n] = static_cast<uint8_t>(values[n]);
}

void grey_levels(const float* __restrict samples, int64_t count, int32_t* __restrict values, uint8_t* __restrict out) {
  for (int64_t n = 0; n < count; ++n) values[n] = to_byte(samples[n] * 255.0f);
  for (int64_t n = 0; n < count; ++n) out[n] = static_cast<uint8_t>(values[n]);
}

void interleave(const uint8_t* __restrict colours, int64_t count, uint8_t* __restrict out) {
  for (int64_t n = 0; n < count; ++n)
    for (int64_t colour = 0; colour < kPlanes; ++colour) out[kPlanes * n + colour] = colours[colour * count + n];
}

}  // namespace

extern "C" {

// `out`, `(height, width, 3)`, from `grey`, `(height, width)`, and two differences: of that size too, or, `halved`, of half
// that, rounded up. `factors`, `(3, 3)`, are those of each plane in a colour, after its zero is taken from it.
void run_colours(const float* grey, const float* first, const float* second, int64_t halved, int64_t height,
                 int64_t width, const double* factors, const double* zeros, uint8_t* out, int64_t threads) {
  const int64_t rows = (height + 1) / 2, columns = (width + 1) / 2;
  threads::pool().share(height, kLines, threads, [&](int64_t start, int64_t stop) {
    std::vector<float> line(columns), doubled(2 * 2 * columns);
    std::vector<int32_t> values(width);
    std::vector<uint8_t> colours(kPlanes * width);
    for (int64_t y = start; y < stop; ++y) {
      const float* lines[kPlanes] = {grey + y * width, first + y * width, second + y * width};
      if (halved) {
        const int64_t near = y / 2, far = std::clamp<int64_t>(near + (y % 2 ? 1 : -1), 0, rows - 1);
        lines[1] = doubled.data();
        lines[2] = doubled.data() + 2 * columns;
        double_line(first + near * columns, first + far * columns, columns, line.data(), doubled.data());
        double_line(second + near * columns, second + far * columns, columns, line.data(), doubled.data() + 2 * columns);
      }
      for (int64_t colour = 0; colour < kPlanes; ++colour)
        one_colour(lines, factors + kPlanes * colour, zeros, width, values.data(), colours.data() + colour * width);
      interleave(colours.data(), width, out + kPlanes * y * width);
    }
  });
}

// `out`, of `count` samples of a grey picture.
void run_grey(const float* samples, int64_t count, uint8_t* out, int64_t threads) {
  threads::pool().share(count, kSamples, threads, [&](int64_t start, int64_t stop) {
    int32_t values[kSamples];
    for (int64_t first = start; first < stop; first += kSamples)
      grey_levels(samples + first, std::min(kSamples, stop - first), values, out + first);
  });
}
}
