// Planes to colours: the pixels of planes.py's from_planes, whose operations these are, each rounded on its own.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "pool.hpp"

namespace {

constexpr int64_t kPlanes = 3;
constexpr int64_t kLines = 16;           // that a thread takes at a time
constexpr int64_t kSamples = 1 << 14;    // of grey, likewise

// Twice the samples of two lines of which `near` is three times as near, and then along the line.
void double_line(const float* near, const float* far, int64_t count, float* line, float* doubled) {
  for (int64_t n = 0; n < count; ++n) line[n] = near[n] * 0.75f + far[n] * 0.25f;
  for (int64_t n = 0; n < count; ++n) {
    const float part = line[n] * 0.75f;
    doubled[2 * n] = part + line[std::max<int64_t>(n - 1, 0)] * 0.25f;
    doubled[2 * n + 1] = part + line[std::min(n + 1, count - 1)] * 0.25f;
  }
}

inline uint8_t to_byte(double sample) { return static_cast<uint8_t>(std::min(std::max(std::nearbyint(sample), 0.0), 255.0)); }

void one_colour(const float* const* lines, const double* factors, const double* zeros, int64_t count,
                uint8_t* __restrict out) {
  const float *__restrict grey = lines[0], *__restrict first = lines[1], *__restrict second = lines[2];
  for (int64_t n = 0; n < count; ++n) {
    const double sum = factors[0] * (grey[n] - zeros[0]) + factors[1] * (first[n] - zeros[1]);
    out[n] = to_byte(sum + factors[2] * (second[n] - zeros[2]));
  }
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
        one_colour(lines, factors + kPlanes * colour, zeros, width, colours.data() + colour * width);
      interleave(colours.data(), width, out + kPlanes * y * width);
    }
  });
}

// `out`, of `count` samples of a grey picture.
void run_grey(const float* __restrict samples, int64_t count, uint8_t* __restrict out, int64_t threads) {
  threads::pool().share(count, kSamples, threads, [&](int64_t start, int64_t stop) {
    for (int64_t n = start; n < stop; ++n) out[n] = to_byte(samples[n] * 255.0f);
  });
}
}
