// The exact network's layers, each in one pass over the features: the same integers as layers.py computes with torch.
// See layers.py for what is computed, docs/exactness.md for why the order of sums does not matter, fused.py for who calls
// this. And the encoder's blocks and posteriors (network.py), in floats.
//
// Compiled twice by setup.py, for AVX2 and for AVX-512 with VNNI, without contraction of a multiplication and an
// addition into one operation: every float operation below is rounded on its own, as docs/format.md has it. Fused
// multiply-add is used for sums of integers, which are exact, and in the encoder.

#ifdef __AVX512VNNI__
#include "avx512.hpp"
#else
#include "avx2.hpp"
#endif

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "pool.hpp"

namespace {

constexpr int64_t kChunk = 60;           // places that go through a layer together, in the nearest cache
constexpr int64_t kParts = 4;            // that each thread takes of a layer, for those that come late
constexpr int64_t kStride = 8;           // lapped.py: BLOCK
constexpr int64_t kSupport = 2 * kStride;
constexpr int64_t kReach = 2;            // of a filter, to each side
constexpr int64_t kSide = 2 * kReach + 1;
constexpr float kNarrow = 127.0f;        // products.py: NARROW
constexpr float kWide = 32639.0f;        // products.py: WIDE
constexpr float kStrength = 4.0f;        // layers.py: STRENGTH_LIMIT
constexpr float kLeastVariance = 1e-6f;  // network.py: Block

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
             int64_t output, const Take& take) {
  typename Factors::Total sums[kTileRows * VECTORS];
  right += output * inputs;
  for (int64_t row = 0; row < rows;) {
    const int64_t count = row + kTileRows <= rows ? kTileRows : 1;
    (count == 1 ? tile<Factors, 1, VECTORS> : tile<Factors, kTileRows, VECTORS>)(left + row * inputs, right, inputs, sums);
    for (int64_t n = 0; n < count; ++n, ++row)
      for (int64_t v = 0; v < VECTORS; ++v) take(row, output + v * kLanes, sums[n * VECTORS + v]);
  }
}

// The sums of products of `rows` rows of `left`, `(rows, inputs)`, with all of `right`,
// `(outputs / kLanes, inputs / group, kLanes, group)`, given to `take(row, output, sums)`, kLanes of them at a time.
template <class Factors, class Take>
void product(const typename Factors::Left* left, const typename Factors::Right* right, int64_t inputs, int64_t rows,
             int64_t outputs, const Take& take) {
  int64_t output = 0;
  for (; output + kTileVectors * kLanes <= outputs; output += kTileVectors * kLanes)
    columns<Factors, kTileVectors>(left, right, inputs, rows, output, take);
  for (; output + 2 * kLanes <= outputs; output += 2 * kLanes)
    columns<Factors, 2>(left, right, inputs, rows, output, take);
  for (; output < outputs; output += kLanes) columns<Factors, 1>(left, right, inputs, rows, output, take);
}

}  // namespace

extern "C" {

// A depthwise filter of kSide × kSide.
struct Filter {
  int64_t channels;
  const float* factors;                // (kSide, kSide, channels)
  const float* bias;                   // (channels)
};

// What a block is made of; sizes are multiples of 16. Products are packed as kernels.py does.
struct Block {
  Filter filter;
  int64_t hidden;
  double least_power;
  const float* scale;                  // (256, channels)
  const Narrow::Right* up;             // channels to hidden
  const int32_t* up_moved;             // (hidden): what moving the left factors adds to the sums
  const float* up_scale;               // (hidden)
  const float* up_bias;                // (256, hidden)
  const Narrow::Right* down;           // hidden to channels
  const float* down_scale;             // (channels)
  const float* down_bias;              // (channels)
};

// A block of the encoder; sizes are multiples of 16.
struct EncoderBlock {
  Filter filter;
  int64_t hidden;
  const Reals::Right* up;              // channels to hidden
  const float* up_bias;                // (hidden)
  const Reals::Right* down;            // hidden to channels
  const float* down_bias;              // (channels)
};

// A linear layer in floats; `outputs` is a multiple of kLanes.
struct RealLinear {
  int64_t inputs, outputs;
  const Reals::Right* weights;         // inputs to outputs
  const float* bias;                   // (outputs)
};

// What the encoder wants of latents beyond the prior's mean, from the decoder's features and its own. `latents` are filled
// up to a multiple of kLanes; `width` is one.
struct Posterior {
  int64_t width, latents;
  const Reals::Right* direct;          // both features to latents
  const float* direct_bias;            // (latents)
  const Reals::Right* up;              // both features to width
  const float* up_bias;                // (width)
  const Reals::Right* down;            // width to latents
  const float* down_bias;              // (latents)
};

// A linear layer for wide integers. Its outputs are filled up to a multiple of kLanes, its inputs to one of Wide::group.
struct Linear {
  int64_t inputs, outputs;
  const Wide::Right* weights;          // inputs to outputs
  const float* scale;                  // (outputs)
};

// How residuals change the features at their place.
struct Tell {
  Linear back;                         // residuals in units of the features to features
  int64_t strengths;                   // inputs of `context`: residuals in steps and their magnitudes, filled up
  const Narrow::Right* context;        // strengths to features
  const int32_t* context_moved;        // (outputs of back)
  const float* context_scale;          // (outputs of back)
  const float* context_bias;           // (outputs of back)
  int64_t residuals, first;            // of how many channels, and which of the features is the first of them
};

// Where λ's index stands for a place: one cell of the map for `rows` × `columns` places of the features.
struct Map {
  const int64_t* index;
  int64_t cells_in_row, rows, columns;
};

int usable() { return runs_here(); }

int64_t sources() { return SOURCES; }

int64_t lanes() { return kLanes; }

int64_t narrow_group() { return Narrow::group; }

int64_t wide_group() { return Wide::group; }

int64_t moved() { return kMoved; }
}

namespace {

// Calls `work(start, stop)` for all of `rows`, of `width` places each, in parts that are worth a thread's while.
template <class Work>
void in_parts(int64_t rows, int64_t width, int64_t threads, const Work& work) {
  const int64_t least = (2 * kChunk + width - 1) / width;
  pool().share(rows, std::max(least, rows / (kParts * threads)), threads, work);
}

inline int64_t index_at(const Map& map, int64_t y, int64_t x) {
  return map.index[y / map.rows * map.cells_in_row + x / map.columns];
}

// The filtered features of one place, `(channels)`; what lies outside the picture is zero.
void filter_one(const Filter& by, const float* f, int64_t height, int64_t width, int64_t y, int64_t x,
                float* filtered) {
  const int64_t left = std::max<int64_t>(0, x - kReach), right = std::min(width - 1, x + kReach);
  const int64_t top = std::max<int64_t>(0, y - kReach), bottom = std::min(height - 1, y + kReach);
  for (int64_t channel = 0; channel < by.channels; channel += kLanes) {
    Floats sums = load(by.bias + channel);
    for (int64_t row = top; row <= bottom; ++row)
      for (int64_t column = left; column <= right; ++column) {
        const int64_t tap = (row - y + kReach) * kSide + column - x + kReach;
        const Floats factors = load(by.factors + tap * by.channels + channel);
        sums = multiply_add(load(f + (row * width + column) * by.channels + channel), factors, sums);
      }
    store(filtered + channel, sums);
  }
}

// The same for PLACES places from column x on, which are kReach or more from the row's ends.
template <int64_t PLACES>
void filter_several(const Filter& by, const float* f, int64_t height, int64_t width, int64_t y, int64_t x,
                    float* filtered) {
  const int64_t top = std::max<int64_t>(0, y - kReach), bottom = std::min(height - 1, y + kReach);
  for (int64_t channel = 0; channel < by.channels; channel += kLanes) {
    Floats sums[PLACES];
    for (auto& each : sums) each = load(by.bias + channel);
    for (int64_t row = top; row <= bottom; ++row) {
      Floats factors[kSide];
      for (int64_t tap = 0; tap < kSide; ++tap)
        factors[tap] = load(by.factors + ((row - y + kReach) * kSide + tap) * by.channels + channel);
      const float* from = f + (row * width + x - kReach) * by.channels + channel;
#pragma GCC unroll 16
      for (int64_t column = 0; column < PLACES + 2 * kReach; ++column) {
        const Floats features = load(from + column * by.channels);
#pragma GCC unroll 16
        for (int64_t tap = 0; tap < kSide; ++tap)
          if (tap <= column && column - tap < PLACES)
            sums[column - tap] = multiply_add(features, factors[tap], sums[column - tap]);
      }
    }
    for (int64_t n = 0; n < PLACES; ++n) store(filtered + n * by.channels + channel, sums[n]);
  }
}

// The filtered features of `count` places, counted row by row from `place` on, `(count, channels)`.
void filter(const Filter& by, const float* f, int64_t height, int64_t width, int64_t place, int64_t count,
            float* filtered) {
  for (const int64_t stop = place + count; place < stop;) {
    const int64_t y = place / width, x = place % width;
    const int64_t inside = x < kReach ? 0 : std::min(width - kReach - x, stop - place);
    const int64_t done = inside >= 8 ? 8 : inside >= 4 ? 4 : inside >= 2 ? 2 : 1;
    switch (done) {
      case 8: filter_several<8>(by, f, height, width, y, x, filtered); break;
      case 4: filter_several<4>(by, f, height, width, y, x, filtered); break;
      case 2: filter_several<2>(by, f, height, width, y, x, filtered); break;
      default: filter_one(by, f, height, width, y, x, filtered);
    }
    place += done;
    filtered += done * by.channels;
  }
}

// Filtered features to the perceptron's input: normalised over channels, scaled by λ, rounded to 8 bits.
void normalise(const Block& block, const float* filtered, const float* scale, Narrow::Left* input) {
  Floats total = all(0.0f);
  Doubles power = no_doubles();
  for (int64_t c = 0; c < block.filter.channels; c += kLanes) {
    const Floats whole = rounded(load(filtered + c));
    total = add(total, whole);
    power = add_exactly(power, multiply(whole, whole));
  }
  const double part = 1.0 / static_cast<double>(block.filter.channels);
  const double mean = static_cast<double>(sum(total)) * part;
  const double spread = sum(power) * part - mean * mean + block.least_power;
  const Floats inverse = all(static_cast<float>(1.0 / std::sqrt(spread)));
  const Floats middle = all(static_cast<float>(mean));
  const Floats origin = all(static_cast<float>(kMoved));
  for (int64_t c = 0; c < block.filter.channels; c += kLanes) {
    const Floats normal = multiply(subtract(load(filtered + c), middle), inverse);
    const Floats step = clamped(rounded(multiply(normal, load(scale + c))), -kNarrow, kNarrow);
    put(input + c, truncated(add(step, origin)));
  }
}

inline Floats at_least_zero(Floats x) { return clamped(x, 0.0f, INFINITY); }

// Filtered features, in place, to what the encoder's perceptron takes: normalised over channels, scaled and shifted by λ.
void normalise_reals(float* features, int64_t channels, const float* cell) {
  const float part = 1.0f / static_cast<float>(channels);
  Floats total = all(0.0f), power = all(0.0f);
  for (int64_t c = 0; c < channels; c += kLanes) total = add(total, load(features + c));
  const Floats mean = all(sum(total) * part);
  for (int64_t c = 0; c < channels; c += kLanes) {
    const Floats difference = subtract(load(features + c), mean);
    power = multiply_add(difference, difference, power);
  }
  const Floats inverse = all(1.0f / std::sqrt(sum(power) * part + kLeastVariance));
  for (int64_t c = 0; c < channels; c += kLanes) {
    const Floats normal = multiply(subtract(load(features + c), mean), inverse);
    store(features + c, multiply_add(normal, load(cell + c), load(cell + channels + c)));
  }
}

inline float clamped(float x, float low, float high) { return std::min(std::max(x, low), high); }

// `count` integers of 16 bits; a multiple of kLanes.
void to_wide(const float* integers, int64_t count, Wide::Left* out) {
  for (int64_t n = 0; n < count; n += kLanes) put(out + n, truncated(load(integers + n)));
}

// A layer of the encoder: for each place of `out`, `(height, width, outputs)`, of what `gather(y, x, input)` puts together.
template <class Gather>
void linear_reals(const RealLinear& layer, float* out, int64_t height, int64_t width, int64_t threads,
                  const Gather& gather) {
  in_parts(height, width, threads, [&](int64_t start, int64_t stop) {
    std::vector<float> inputs(kChunk * layer.inputs);
    for (int64_t first = start * width; first < stop * width; first += kChunk) {
      const int64_t chunk = std::min(kChunk, stop * width - first);
      for (int64_t n = 0; n < chunk; ++n)
        gather((first + n) / width, (first + n) % width, inputs.data() + n * layer.inputs);
      product<Reals>(inputs.data(), layer.weights, layer.inputs, chunk, layer.outputs,
                     [&](int64_t row, int64_t output, Floats sums) {
                       store(out + (first + row) * layer.outputs + output, add(sums, load(layer.bias + output)));
                     });
    }
  });
}

// What follows is for latents in a row. Nothing overlaps, so a compiler may take several at once.

void to_rows(const float* __restrict scaled, const float* __restrict table, int64_t latents, float last,
             uint8_t* __restrict rows) {
  for (int64_t z = 0; z < latents; ++z)
    rows[z] = static_cast<uint8_t>(clamped(std::nearbyint(scaled[z] + table[z]), 0.0f, last));
}

void take_in(const float* __restrict steps, const float* __restrict unit, int64_t latents, Wide::Left* __restrict units,
             Narrow::Left* __restrict strengths, Narrow::Left* __restrict magnitudes) {
  for (int64_t z = 0; z < latents; ++z) {
    const float strength = clamped(steps[z], -kStrength, kStrength);
    units[z] = static_cast<Wide::Left>(clamped(std::nearbyint(steps[z] * unit[z]), -kWide, kWide));
    strengths[z] = static_cast<Narrow::Left>(static_cast<int32_t>(strength) + kMoved);
    magnitudes[z] = static_cast<Narrow::Left>(static_cast<int32_t>(std::fabs(strength)) + kMoved);
  }
}

void multiply_each(const float* __restrict values, const float* __restrict factors, int64_t count,
                   float* __restrict out) {
  for (int64_t n = 0; n < count; ++n) out[n] = values[n] * factors[n];
}

void round_each(const float* __restrict residuals, const uint8_t* __restrict rows, const float* __restrict thresholds,
                int64_t magnitudes, float most, int64_t count, float* __restrict out) {
  const float last = static_cast<float>(magnitudes - 1);
  for (int64_t n = 0; n < count; ++n) {
    const float magnitude = std::fabs(residuals[n]), nearest = std::nearbyint(magnitude);
    const float column = nearest < last ? nearest : last;
    const float threshold = thresholds[rows[n] * magnitudes + static_cast<int64_t>(column)];
    const float rounded = magnitude - nearest + 0.5f < threshold ? nearest - 1.0f : nearest;
    out[n] = clamped(std::copysign(rounded, residuals[n]), -most, most);
  }
}

void add_integers(const Wide::Left* __restrict integers, int64_t count, float* __restrict to) {
  for (int64_t n = 0; n < count; ++n) to[n] += integers[n];
}

void scaled_product(const Linear& layer, const Wide::Left* inputs, int64_t count, float* out) {
  product<Wide>(inputs, layer.weights, layer.inputs, count, layer.outputs,
                [&](int64_t row, int64_t output, Sums sums) {
                  store(out + row * layer.outputs + output, multiply(converted(sums), load(layer.scale + output)));
                });
}

}  // namespace

extern "C" {

// A block, of one picture's features, `(height, width, channels)`.
void run_block(const Block* given, const float* f, float* out, const Map* map, int64_t height, int64_t width,
               int64_t threads) {
  const Block& block = *given;
  const int64_t channels = block.filter.channels, hidden = block.hidden;
  in_parts(height, width, threads, [&](int64_t start, int64_t stop) {
    std::vector<Narrow::Left> inputs(kChunk * channels), between(kChunk * hidden);
    std::vector<float> filtered(kChunk * channels);
    std::vector<const float*> biases(kChunk);
    for (int64_t first = start * width; first < stop * width; first += kChunk) {
      const int64_t chunk = std::min(kChunk, stop * width - first);
      filter(block.filter, f, height, width, first, chunk, filtered.data());
      for (int64_t n = 0; n < chunk; ++n) {
        const int64_t index = index_at(*map, (first + n) / width, (first + n) % width);
        normalise(block, filtered.data() + n * channels, block.scale + index * channels, inputs.data() + n * channels);
        biases[n] = block.up_bias + index * hidden;
      }
      product<Narrow>(inputs.data(), block.up, channels, chunk, hidden, [&](int64_t row, int64_t output, Sums sums) {
        const Floats value = converted(subtract(sums, load_sums(block.up_moved + output)));
        const Floats biased = add(multiply(value, load(block.up_scale + output)), load(biases[row] + output));
        put(between.data() + row * hidden + output, truncated(clamped(biased, 0, kNarrow)));
      });
      product<Narrow>(between.data(), block.down, hidden, chunk, channels, [&](int64_t row, int64_t output, Sums sums) {
        const Floats value = multiply(converted(sums), load(block.down_scale + output));
        const int64_t place = (first + row) * channels + output;
        const Floats result = add(add(value, load(block.down_bias + output)), load(f + place));
        store(out + place, clamped(rounded(result), -kWide, kWide));
      });
    }
  });
}

// The row of the probability tables for each latent at `count` places, `(count, latents)`.
// `table` is added to the layer's outputs: latents in a row, `step` numbers from one place to the next.
void run_rows(const Linear* layer, const float* f, const int64_t* places, const float* table, int64_t step,
              int64_t latents, int64_t last, uint8_t* out, int64_t count, int64_t threads) {
  in_parts(count, 1, threads, [&](int64_t start, int64_t stop) {
    std::vector<Wide::Left> inputs(kChunk * layer->inputs);
    std::vector<float> scaled(kChunk * layer->outputs);
    for (int64_t first = start; first < stop; first += kChunk) {
      const int64_t chunk = std::min(kChunk, stop - first);
      for (int64_t n = 0; n < chunk; ++n)
        to_wide(f + places[first + n] * layer->inputs, layer->inputs, inputs.data() + n * layer->inputs);
      scaled_product(*layer, inputs.data(), chunk, scaled.data());
      for (int64_t n = 0; n < chunk; ++n)
        to_rows(scaled.data() + n * layer->outputs, table + (first + n) * step, latents, static_cast<float>(last),
                out + (first + n) * latents);
    }
  });
}

// Adds to the features at `count` places what the residuals there say, `(count, residuals)`.
// `unit` makes units of the features of them: residuals in a row, `step` numbers from one place to the next.
void run_tell(const Tell* tell, float* f, const float* said, const float* unit, int64_t step, const int64_t* places,
              int64_t count, int64_t threads) {
  const Linear& back = tell->back;
  const int64_t channels = back.outputs, residuals = tell->residuals;
  in_parts(count, 1, threads, [&](int64_t start, int64_t stop) {
    std::vector<Wide::Left> units(kChunk * back.inputs);
    std::vector<Narrow::Left> strengths(kChunk * tell->strengths);
    std::vector<float> told(kChunk * channels);
    for (int64_t first = start; first < stop; first += kChunk) {
      const int64_t chunk = std::min(kChunk, stop - first);
      for (int64_t n = 0; n < chunk; ++n) {
        Narrow::Left* to = strengths.data() + n * tell->strengths;
        take_in(said + (first + n) * residuals, unit + (first + n) * step, residuals, units.data() + n * back.inputs, to,
                to + residuals);
      }
      scaled_product(back, units.data(), chunk, told.data());
      product<Narrow>(strengths.data(), tell->context, tell->strengths, chunk, channels,
                      [&](int64_t row, int64_t output, Sums sums) {
                        const Floats value = converted(subtract(sums, load_sums(tell->context_moved + output)));
                        const Floats scaled = multiply(value, load(tell->context_scale + output));
                        float* here = told.data() + row * channels + output;
                        store(here, add(load(here), add(scaled, load(tell->context_bias + output))));
                      });
      for (int64_t n = 0; n < chunk; ++n) {
        float* here = told.data() + n * channels;
        add_integers(units.data() + n * back.inputs, residuals, here + tell->first);
        float* features = f + places[first + n] * channels;
        for (int64_t c = 0; c < channels; c += kLanes)
          store(features + c, clamped(rounded(add(load(here + c), load(features + c))), -kWide, kWide));
      }
    }
  });
}

// Features, `(height, width, inputs)`, to those of the next finer stride, `(2 height, 2 width, outputs / 4)`.
void run_double(const Linear* layer, const float* bias, const float* f, float* out, int64_t height, int64_t width,
                int64_t threads) {
  const int64_t channels = layer->outputs / 4;
  in_parts(height, width, threads, [&](int64_t start, int64_t stop) {
    std::vector<Wide::Left> inputs(kChunk * layer->inputs);
    for (int64_t first = start * width; first < stop * width; first += kChunk) {
      const int64_t chunk = std::min(kChunk, stop * width - first);
      to_wide(f + first * layer->inputs, chunk * layer->inputs, inputs.data());
      product<Wide>(inputs.data(), layer->weights, layer->inputs, chunk, layer->outputs,
                    [&](int64_t row, int64_t output, Sums sums) {
                      const Floats value = multiply(converted(sums), load(layer->scale + output));
                      const Floats result = clamped(rounded(add(value, load(bias + output))), -kWide, kWide);
                      const int64_t quarter = output / channels;
                      const int64_t y = 2 * ((first + row) / width) + quarter / 2;
                      const int64_t x = 2 * ((first + row) % width) + quarter % 2;
                      store(out + (y * 2 * width + x) * channels + output % channels, result);
                    });
    }
  });
}

// The sum of the patches that features, `(height, width, inputs)`, stand for, `(8 (height + 1), 8 (width + 1))`. A patch
// reaches into the row below.
void run_leave(const Linear* layer, const float* f, float* out, int64_t height, int64_t width, int64_t threads) {
  const int64_t line = kStride * (width + 1);
  in_parts(height + 1, width, threads, [&](int64_t start, int64_t stop) {
    std::vector<Wide::Left> inputs(kChunk * layer->inputs);
    std::fill(out + start * kStride * line, out + stop * kStride * line, 0.0f);
    const int64_t last = std::min(stop, height) * width;
    for (int64_t first = std::max<int64_t>(0, start - 1) * width; first < last; first += kChunk) {
      const int64_t chunk = std::min(kChunk, last - first);
      to_wide(f + first * layer->inputs, chunk * layer->inputs, inputs.data());
      product<Wide>(inputs.data(), layer->weights, layer->inputs, chunk, kSupport * kSupport,
                    [&](int64_t row, int64_t output, Sums sums) {
                      const int64_t y = kStride * ((first + row) / width) + output / kSupport;
                      if (y < start * kStride || y >= stop * kStride) return;
                      const int64_t x = kStride * ((first + row) % width) + output % kSupport;
                      const Floats patch = rounded(multiply(converted(sums), load(layer->scale + output)));
                      store(out + y * line + x, add(load(out + y * line + x), patch));
                    });
    }
  });
}

// A block of the encoder, as run_block. `table` is λ's, `(cells, 2, channels)`: a factor and an addition for each channel.
void run_encoder_block(const EncoderBlock* given, const float* f, float* out, const float* table, const Map* map,
                       int64_t height, int64_t width, int64_t threads) {
  const EncoderBlock& block = *given;
  const int64_t channels = block.filter.channels, hidden = block.hidden;
  in_parts(height, width, threads, [&](int64_t start, int64_t stop) {
    std::vector<float> filtered(kChunk * channels), between(kChunk * hidden);
    for (int64_t first = start * width; first < stop * width; first += kChunk) {
      const int64_t chunk = std::min(kChunk, stop * width - first);
      filter(block.filter, f, height, width, first, chunk, filtered.data());
      for (int64_t n = 0; n < chunk; ++n) {
        const float* cell = table + index_at(*map, (first + n) / width, (first + n) % width) * 2 * channels;
        normalise_reals(filtered.data() + n * channels, channels, cell);
      }
      product<Reals>(filtered.data(), block.up, channels, chunk, hidden, [&](int64_t row, int64_t output, Floats sums) {
        store(between.data() + row * hidden + output, at_least_zero(add(sums, load(block.up_bias + output))));
      });
      product<Reals>(between.data(), block.down, hidden, chunk, channels,
                     [&](int64_t row, int64_t output, Floats sums) {
                       const int64_t place = (first + row) * channels + output;
                       store(out + place, add(add(sums, load(block.down_bias + output)), load(f + place)));
                     });
    }
  });
}

// The lapped analysis: planes, `(8 (height + 1), 8 (width + 1))`, to features, `(height, width, outputs)`.
void run_enter(const RealLinear* layer, const float* planes, float* out, int64_t height, int64_t width,
               int64_t threads) {
  const int64_t line = kStride * (width + 1);
  linear_reals(*layer, out, height, width, threads, [&](int64_t y, int64_t x, float* input) {
    const float* corner = planes + kStride * (y * line + x);
    for (int64_t row = 0; row < kSupport; ++row) std::copy_n(corner + row * line, kSupport, input + row * kSupport);
  });
}

// Features, `(2 height, 2 width, inputs / 4)`, to those of the next coarser stride, `(height, width, outputs)`.
void run_halve(const RealLinear* layer, const float* f, float* out, int64_t height, int64_t width, int64_t threads) {
  const int64_t both = layer->inputs / 2, line = width * both;
  linear_reals(*layer, out, height, width, threads, [&](int64_t y, int64_t x, float* input) {
    const float* corner = f + 2 * y * line + x * both;
    std::copy_n(corner, both, input);
    std::copy_n(corner + line, both, input + both);
  });
}

// The residual that the encoder wants at `count` places, `(count, wanted)`: the first of `latents`. `f` are the decoder's
// features, `h` the encoder's; `gain` makes quantization steps of them: residuals in a row, `step` numbers from one place
// to the next.
void run_posterior(const Posterior* given, const float* f, const float* h, const float* gain, int64_t step,
                   const int64_t* places, int64_t wanted, float* out, int64_t count, int64_t threads) {
  const Posterior& posterior = *given;
  const int64_t width = posterior.width, latents = posterior.latents;
  in_parts(count, 1, threads, [&](int64_t start, int64_t stop) {
    std::vector<float> both(kChunk * 2 * width), between(kChunk * width), result(kChunk * latents);
    for (int64_t first = start; first < stop; first += kChunk) {
      const int64_t chunk = std::min(kChunk, stop - first);
      for (int64_t n = 0; n < chunk; ++n) {
        std::copy_n(f + places[first + n] * width, width, both.begin() + n * 2 * width);
        std::copy_n(h + places[first + n] * width, width, both.begin() + (n * 2 + 1) * width);
      }
      product<Reals>(both.data(), posterior.up, 2 * width, chunk, width, [&](int64_t row, int64_t output, Floats sums) {
        store(between.data() + row * width + output, at_least_zero(add(sums, load(posterior.up_bias + output))));
      });
      product<Reals>(both.data(), posterior.direct, 2 * width, chunk, latents,
                     [&](int64_t row, int64_t output, Floats sums) {
                       float* here = result.data() + row * latents + output;
                       store(here, add(sums, load(posterior.direct_bias + output)));
                     });
      product<Reals>(between.data(), posterior.down, width, chunk, latents,
                     [&](int64_t row, int64_t output, Floats sums) {
                       float* here = result.data() + row * latents + output;
                       store(here, add(load(here), add(sums, load(posterior.down_bias + output))));
                     });
      for (int64_t n = 0; n < chunk; ++n)
        multiply_each(result.data() + n * latents, gain + (first + n) * step, wanted, out + (first + n) * wanted);
    }
  });
}

// Residuals to integers: the nearest, or the next towards 0, where they are not so far above the middle as `thresholds`,
// `(tables, magnitudes)`, asks. See rounding.py.
void run_round(const float* residuals, const uint8_t* rows, const float* thresholds, int64_t magnitudes, int64_t limit,
               float* out, int64_t count, int64_t threads) {
  in_parts(count, 1, threads, [&](int64_t start, int64_t stop) {
    round_each(residuals + start, rows + start, thresholds, magnitudes, static_cast<float>(limit), stop - start,
               out + start);
  });
}
}
