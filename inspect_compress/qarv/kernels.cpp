// The exact network's layers, each in one pass over the features: the same integers as layers.py computes with torch.
// See layers.py for what is computed, docs/exactness.md for why the order of sums does not matter, fused.py for who calls
// this. And the encoder's blocks and posteriors (network.py), in floats.
//
// Compiled twice by setup.py, for AVX2 and for AVX-512 with VNNI, without contraction of a multiplication and an
// addition into one operation: every float operation below is rounded on its own, as docs/format.md has it. Fused
// multiply-add is used where the product is exact, and in the encoder.

#ifdef __AVX512VNNI__
#include "avx512.hpp"
#else
#include "avx2.hpp"
#endif

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "buffer.hpp"
#include "filter.hpp"
#include "pool.hpp"
#include "product.hpp"

namespace {

constexpr int64_t kChunk = kBand * kColumns;  // places that go through a layer together, in the nearest cache
constexpr int64_t kParts = 2;            // that each thread takes of a layer, for those that come late
constexpr int64_t kStride = 8;           // lapped.py: BLOCK
constexpr int64_t kSupport = 2 * kStride;
constexpr int16_t kNarrow = 127;         // products.py: NARROW
constexpr int16_t kWide = 32639;         // products.py: WIDE
constexpr float kHalfWord = 1.0f / 65536;  // what an integer in the upper half of 32 bits is to be multiplied by
constexpr float kStrength = 4.0f;        // layers.py: STRENGTH_LIMIT
constexpr float kLeastVariance = 1e-6f;  // network.py: Block
constexpr int16_t kSquared = 4095;       // squares of up to this are the same in float32, and 256 of them fit 32 bits

}  // namespace

extern "C" {

// What a block is made of; sizes are multiples of 2 · kLanes, and at most 256 channels. Products are packed as kernels.py
// does; all but what they take comes in the order of `low_pairs` and `high_pairs`.
struct Block {
  Filter filter;
  int64_t hidden;
  double least_power;
  const float* scale;                  // (256, channels)
  const Narrow::Right* up;             // channels to hidden
  const int32_t* up_bias;              // (256, hidden): less what moving the left factors adds to the sums
  const int32_t* up_shift;             // (hidden): bits that are dropped of a sum
  const Narrow::Right* down;           // hidden to channels
  const float* down_scale;             // (channels)
  const float* down_bias;              // (channels)
};

// A block of the encoder; sizes are multiples of kLanes.
struct EncoderBlock {
  RealFilter filter;
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

// Where λ's index stands for a place: one cell of a picture's map for `rows` × `columns` places of its features.
struct Map {
  const int64_t* index;
  int64_t cells, cells_in_row, rows, columns;
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
  const int64_t least = (kChunk / 2 + width - 1) / width;
  threads::pool().share(rows, std::max(least, rows / (kParts * threads)), threads, work);
}

// The same in bands, `(picture, y, x, rows, columns)`: kBand rows, or the last one, and at most kColumns columns. `work()` is
// what a part is worked on with.
template <class Work>
void in_bands(int64_t pictures, int64_t height, int64_t width, int64_t threads, const Work& work) {
  const int64_t bands = (height + kBand - 1) / kBand;
  in_parts(pictures * bands, kBand * width, threads, [&](int64_t start, int64_t stop) {
    const auto each = work();
    for (int64_t band = start; band < stop; ++band) {
      const int64_t y = band % bands * kBand, rows = std::min(kBand, height - y);
      for (int64_t x = 0; x < width; x += kColumns) each(band / bands, y, x, rows, std::min(kColumns, width - x));
    }
  });
}

// Of one row of places.
class Indexes {
 public:
  Indexes(const Map& map, int64_t picture, int64_t y)
      : cells_(map.index + picture * map.cells + y / map.rows * map.cells_in_row),
        columns_(map.cells_in_row > 1 ? map.columns : 0) {}

  int64_t at(int64_t x) const { return columns_ ? cells_[x / columns_] : *cells_; }

 private:
  const int64_t* cells_;
  int64_t columns_;
};

struct Moments {
  double total, power;
};

// The sums of filtered features, rounded, over channels; and those of their squares, rounded to float32.
Moments moments(const float* filtered, int64_t channels) {
  Sums total = nothing(), power = nothing(), largest = nothing();
  for (int64_t c = 0; c < channels; c += 2 * kLanes) {
    const Sums whole = packed(nearest(load(filtered + c)), nearest(load(filtered + c + kLanes)));
    total = dot_wide(total, whole, all_wide(1));
    power = dot_wide(power, whole, whole);
    largest = larger(largest, magnitudes(whole));
  }
  if (!any_over(largest, kSquared)) {
    const int64_t both = sums_of(total, power);
    return {static_cast<double>(static_cast<int32_t>(both)), static_cast<double>(static_cast<uint64_t>(both) >> 32)};
  }
  Doubles totals = no_doubles(), powers = no_doubles();
  for (int64_t c = 0; c < channels; c += kLanes) {
    const Floats whole = rounded(load(filtered + c));
    totals = add_exactly(totals, whole);
    powers = add_exactly(powers, multiply(whole, whole));
  }
  return {sum(totals), sum(powers)};
}

struct Normal {
  float mean, inverse;
};

// What features of one place are normalised by.
Normal normal_of(const Block& block, const float* filtered) {
  const double part = 1.0 / static_cast<double>(block.filter.channels);
  const Moments of = moments(filtered, block.filter.channels);
  const double mean = of.total * part;
  const double spread = of.power * part - mean * mean + block.least_power;
  return {static_cast<float>(mean), static_cast<float>(1.0 / std::sqrt(spread))};
}

// Filtered features to the perceptron's input: normalised over channels, scaled by λ, rounded to 8 bits.
void normalise(const float* filtered, int64_t channels, Normal by, const float* scale, NarrowLeft* input) {
  const auto steps = [&](int64_t c) {
    const Floats normal = multiply(subtract(load(filtered + c), all(by.mean)), all(by.inverse));
    return nearest(multiply(normal, load(scale + c)));
  };
  for (int64_t c = 0; c < channels; c += 2 * kLanes)
    put_narrow(input + c, add_wide(clamped_wide(packed(steps(c), steps(c + kLanes)), -kNarrow, kNarrow), all_wide(kMoved)));
}

inline Floats at_least_zero(Floats x) { return clamped(x, 0.0f, INFINITY); }

// Filtered features to what the encoder's perceptron takes: normalised over channels, scaled and shifted by λ.
void normalise_reals(float* features, int64_t channels, const float* cell, float* input) {
  const float part = 1.0f / static_cast<float>(channels);
  Floats total = all(0.0f), power = all(0.0f);
  for (int64_t c = 0; c < channels; c += kLanes) total = add(total, load(features + c));
  const Floats mean = all(static_cast<float>(sum(total)) * part);
  for (int64_t c = 0; c < channels; c += kLanes) {
    const Floats difference = subtract(load(features + c), mean);
    power = multiply_add(difference, difference, power);
  }
  const Floats inverse = all(1.0f / std::sqrt(static_cast<float>(sum(power)) * part + kLeastVariance));
  for (int64_t c = 0; c < channels; c += kLanes) {
    const Floats normal = multiply(subtract(load(features + c), mean), inverse);
    store(input + c, multiply_add(normal, load(cell + c), load(cell + channels + c)));
  }
}

inline float clamped(float x, float low, float high) { return std::min(std::max(x, low), high); }

// A layer of the encoder: for each place of `out`, `(height, width, outputs)`, of what `gather(y, x, input)` puts together.
template <class Gather>
void linear_reals(const RealLinear& layer, float* out, int64_t height, int64_t width, int64_t threads,
                  const Gather& gather) {
  in_parts(height, width, threads, [&](int64_t start, int64_t stop) {
    const Buffer<float> inputs(kChunk * layer.inputs);
    for (int64_t first = start * width; first < stop * width; first += kChunk) {
      const int64_t chunk = std::min(kChunk, stop * width - first);
      for (int64_t n = 0; n < chunk; ++n)
        gather((first + n) / width, (first + n) % width, inputs + n * layer.inputs);
      const auto biased = [&](int64_t row, int64_t output, Floats sums) {
        store(out + (first + row) * layer.outputs + output, add(sums, load(layer.bias + output)));
      };
      product<Reals>(inputs, layer.weights, layer.inputs, chunk, layer.outputs, one_by_one(biased));
    }
  });
}

// What a layer makes of latents in a row, and their entries of λ's table, to rows of the probability tables.
void to_rows(const float* scaled, const float* table, int64_t latents, float last, uint8_t* rows) {
  for (int64_t z = 0; z < latents; z += kLanes) {
    const int64_t count = std::min(kLanes, latents - z);
    const Floats row = add(load(scaled + z), load_first(table + z, count));
    store_first(rows + z, nearest(clamped(row, 0.0f, last)), count);
  }
}

// Residuals in a row to units of the features, as integers and as floats; and to how much they are, and its magnitude. All but
// the floats are written to as far as a register reaches beyond them.
void take_in(const float* steps, const float* unit, int64_t latents, int16_t* units, float* values, NarrowLeft* strengths) {
  for (int64_t z = 0; z < latents; z += kLanes) {
    const int64_t count = std::min(kLanes, latents - z);
    const Floats step = load_first(steps + z, count);
    const Floats value = clamped(rounded(multiply(step, load_first(unit + z, count))), -kWide, kWide);
    store(values + z, value);
    store_wide(units + z, value);
    put_narrow(strengths + z, add(clamped(step, -kStrength, kStrength), all(static_cast<float>(kMoved))));
  }
  for (int64_t z = 0; z < latents; z += kLanes) {
    const Floats step = load_first(steps + z, std::min(kLanes, latents - z));
    const Floats magnitude = larger(step, subtract(all(0.0f), step));
    put_narrow(strengths + latents + z, add(clamped(magnitude, 0.0f, kStrength), all(static_cast<float>(kMoved))));
  }
}

// What follows is for numbers of which nothing overlaps, so a compiler may take several at once.

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

void scaled_product(const Linear& layer, const Wide::Left* inputs, int64_t count, float* out) {
  const auto scaled = [out, outputs = layer.outputs, scale = layer.scale](int64_t row, int64_t output, Sums sums) {
    store(out + row * outputs + output, multiply(converted(sums), load(scale + output)));
  };
  product<Wide>(inputs, layer.weights, layer.inputs, count, layer.outputs, one_by_one(scaled));
}

// What takes the sums of a block's first product: at each place something is added, the last bits are dropped.
auto rectified(const Block& block, const int32_t* const* biases, NarrowLeft* between) {
  return [biases, between, hidden = block.hidden, shifts = block.up_shift](auto vectors, int64_t row, int64_t output,
                                                                           const Sums* sums) {
    const auto halved = [&](int64_t v) {
      const Sums biased = add(sums[v], load_sums(biases[row] + output + v * kLanes));
      return shifted_right(biased, load_sums(shifts + output + v * kLanes));
    };
    for (int64_t v = 0; v + 1 < vectors; v += 2)
      put_narrow(between + row * hidden + output + v * kLanes,
                 clamped_wide(packed(halved(v), halved(v + 1)), 0, kNarrow));
  };
}

// What takes those of the second one, and adds them to the features at each place.
auto added(const Block& block, const int16_t* f, const int64_t* places, int16_t* out) {
  return [f, places, out, scales = block.down_scale, biases = block.down_bias](auto vectors, int64_t row, int64_t output,
                                                                               const Sums* sums) {
    const int64_t place = places[row] + output;
    const auto result = [&](int64_t v, Sums before) {
      const Floats value = multiply(converted(sums[v]), load(scales + output + v * kLanes));
      const Floats biased = add(value, load(biases + output + v * kLanes));
      return nearest(multiply_add(converted(before), all(kHalfWord), biased));
    };
    for (int64_t v = 0; v + 1 < vectors; v += 2) {
      const Sums before = load_sums(f + place + v * kLanes);
      const Sums low = result(v, low_pairs(nothing(), before)), high = result(v + 1, high_pairs(nothing(), before));
      store_sums(out + place + v * kLanes, clamped_wide(packed(low, high), -kWide, kWide));
    }
  };
}

// A block, a band at a time.
class BlockBand {
 public:
  BlockBand(const Block& block, const int16_t* f, int16_t* out, const Map& map, int64_t height, int64_t width)
      : block_(block), f_(f), out_(out), map_(map), height_(height), width_(width),
        around_(block.filter, f, height, width), filtered_(kChunk * channels_), inputs_(kChunk * channels_),
        between_(kChunk * hidden_) {}

  void operator()(int64_t picture, int64_t y, int64_t x, int64_t rows, int64_t columns) const {
    int64_t places[kChunk];          // where in the features, and what is added for λ
    const int32_t* biases[kChunk];
    around_.band(picture, y, x, columns, filtered_);
    normalise_band(picture, y, x, rows, columns, places, biases);
    product<Narrow>(inputs_, block_.up, channels_, rows * columns, hidden_, rectified(block_, biases, between_));
    product<Narrow>(between_, block_.down, hidden_, rows * columns, channels_, added(block_, f_, places, out_));
  }

 private:
  void normalise_band(int64_t picture, int64_t y, int64_t x, int64_t rows, int64_t columns, int64_t* places,
                      const int32_t** biases) const {
    Normal normals[kChunk];
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t n = row * kColumns; n < row * kColumns + columns; ++n)
        normals[n] = normal_of(block_, filtered_ + n * channels_);
    for (int64_t row = 0, n = 0; row < rows; ++row) {
      const Indexes indexes(map_, picture, y + row);
      for (int64_t column = 0; column < columns; ++column, ++n) {
        const int64_t index = indexes.at(x + column), from = row * kColumns + column;
        normalise(filtered_ + from * channels_, channels_, normals[from], block_.scale + index * channels_,
                  inputs_ + n * channels_);
        places[n] = ((picture * height_ + y + row) * width_ + x + column) * channels_;
        biases[n] = block_.up_bias + index * hidden_;
      }
    }
  }

  const Block& block_;
  const int16_t* f_;
  int16_t* out_;
  const Map& map_;
  int64_t height_, width_, channels_ = block_.filter.channels, hidden_ = block_.hidden;
  Filtered<Filter, int16_t> around_;
  Buffer<float> filtered_;
  Buffer<NarrowLeft> inputs_, between_;
};

}  // namespace

extern "C" {

// A block, of features `(pictures, height, width, channels)`.
void run_block(const Block* given, const int16_t* f, int16_t* out, const Map* map, int64_t pictures, int64_t height,
               int64_t width, int64_t threads) {
  in_bands(pictures, height, width, threads, [&] { return BlockBand(*given, f, out, *map, height, width); });
}

// The row of the probability tables for each latent at `count` places, `(count, latents)`.
// `table` is added to the layer's outputs: latents in a row, `step` numbers from one place to the next.
void run_rows(const Linear* layer, const int16_t* f, const int64_t* places, const float* table, int64_t step,
              int64_t latents, int64_t last, uint8_t* out, int64_t count, int64_t threads) {
  in_parts(count, 1, threads, [&](int64_t start, int64_t stop) {
    const Buffer<int16_t> inputs(kChunk * layer->inputs);
    const Buffer<float> scaled(kChunk * layer->outputs);
    for (int64_t first = start; first < stop; first += kChunk) {
      const int64_t chunk = std::min(kChunk, stop - first);
      for (int64_t n = 0; n < chunk; ++n)
        std::copy_n(f + places[first + n] * layer->inputs, layer->inputs, inputs + n * layer->inputs);
      scaled_product(*layer, inputs, chunk, scaled);
      for (int64_t n = 0; n < chunk; ++n)
        to_rows(scaled + n * layer->outputs, table + (first + n) * step, latents, static_cast<float>(last),
                out + (first + n) * latents);
    }
  });
}

// Adds to the features at `count` places what the residuals there say, `(count, residuals)`.
// `unit` makes units of the features of them: residuals in a row, `step` numbers from one place to the next.
void run_tell(const Tell* tell, int16_t* f, const float* said, const float* unit, int64_t step, const int64_t* places,
              int64_t count, int64_t threads) {
  const Linear& back = tell->back;
  const int64_t channels = back.outputs, residuals = tell->residuals;
  in_parts(count, 1, threads, [&](int64_t start, int64_t stop) {
    const int64_t padded = (residuals + kLanes - 1) / kLanes * kLanes;
    const Buffer<int16_t> units(kChunk * back.inputs + kLanes);
    const Buffer<NarrowLeft> strengths(kChunk * tell->strengths + kLanes);
    const Buffer<float> values(kChunk * padded), told(kChunk * channels + kLanes);
    std::fill_n(+units, kChunk * back.inputs, 0);
    std::fill_n(+strengths, kChunk * tell->strengths, 0);
    for (int64_t first = start; first < stop; first += kChunk) {
      const int64_t chunk = std::min(kChunk, stop - first);
      for (int64_t n = 0; n < chunk; ++n)
        take_in(said + (first + n) * residuals, unit + (first + n) * step, residuals, units + n * back.inputs,
                values + n * padded, strengths + n * tell->strengths);
      scaled_product(back, units, chunk, told);
      const auto in_context = [to = +told, channels, moved = tell->context_moved, scale = tell->context_scale,
                               bias = tell->context_bias](int64_t row, int64_t output, Sums sums) {
        const Floats value = multiply(converted(subtract(sums, load_sums(moved + output))), load(scale + output));
        float* here = to + row * channels + output;
        store(here, add(load(here), add(value, load(bias + output))));
      };
      product<Narrow>(strengths, tell->context, tell->strengths, chunk, channels, one_by_one(in_context));
      for (int64_t n = 0; n < chunk; ++n) {
        float *here = told + n * channels, *said_here = here + tell->first;
        for (int64_t z = 0; z < padded; z += kLanes)
          store(said_here + z, add(load(said_here + z), load(values + n * padded + z)));
        int16_t* features = f + places[first + n] * channels;
        for (int64_t c = 0; c < channels; c += kLanes)
          store_wide(features + c, clamped(add(load(here + c), load(features + c)), -kWide, kWide));
      }
    }
  });
}

// Features, `(height, width, inputs)`, to those of the next finer stride, `(2 height, 2 width, outputs / 4)`.
void run_double(const Linear* layer, const float* bias, const int16_t* f, int16_t* out, int64_t height, int64_t width,
                int64_t threads) {
  const int64_t channels = layer->outputs / 4;
  in_parts(height, width, threads, [&](int64_t start, int64_t stop) {
    for (int64_t first = start * width; first < stop * width; first += kChunk) {
      const auto spread = [&](int64_t row, int64_t output, Sums sums) {
        const Floats value = multiply(converted(sums), load(layer->scale + output));
        const int64_t quarter = output / channels;
        const int64_t y = 2 * ((first + row) / width) + quarter / 2;
        const int64_t x = 2 * ((first + row) % width) + quarter % 2;
        store_wide(out + (y * 2 * width + x) * channels + output % channels,
                   clamped(add(value, load(bias + output)), -kWide, kWide));
      };
      product<Wide>(f + first * layer->inputs, layer->weights, layer->inputs, std::min(kChunk, stop * width - first),
                    layer->outputs, one_by_one(spread));
    }
  });
}

// The sum of the patches that features, `(height, width, inputs)`, stand for, `(8 (height + 1), 8 (width + 1))`. A patch
// reaches into the row below.
void run_leave(const Linear* layer, const int16_t* f, float* out, int64_t height, int64_t width, int64_t threads) {
  const int64_t line = kStride * (width + 1);
  const int64_t share = height / threads + 1;  // not less, as each part computes the row above it once more
  threads::pool().share(height + 1, share, threads, [&](int64_t start, int64_t stop) {
    std::fill(out + start * kStride * line, out + stop * kStride * line, 0.0f);
    const int64_t last = std::min(stop, height) * width;
    for (int64_t first = std::max<int64_t>(0, start - 1) * width; first < last; first += kChunk) {
      const auto overlapped = [&](int64_t row, int64_t output, Sums sums) {
        const int64_t y = kStride * ((first + row) / width) + output / kSupport;
        if (y < start * kStride || y >= stop * kStride) return;
        const int64_t x = kStride * ((first + row) % width) + output % kSupport;
        const Floats patch = rounded(multiply(converted(sums), load(layer->scale + output)));
        store(out + y * line + x, add(load(out + y * line + x), patch));
      };
      product<Wide>(f + first * layer->inputs, layer->weights, layer->inputs, std::min(kChunk, last - first),
                    kSupport * kSupport, one_by_one(overlapped));
    }
  });
}

// A block of the encoder, as run_block. `table` is λ's, `(…, 2, channels)`: a factor and an addition for each channel.
void run_encoder_block(const EncoderBlock* given, const float* f, float* out, const float* table, const Map* map,
                       int64_t pictures, int64_t height, int64_t width, int64_t threads) {
  const EncoderBlock& block = *given;
  const int64_t channels = block.filter.channels, hidden = block.hidden;
  in_bands(pictures, height, width, threads, [&] {
    return [&, around = Filtered(block.filter, f, height, width), filtered = Buffer<float>(kChunk * channels),
            inputs = Buffer<float>(kChunk * channels), between = Buffer<float>(kChunk * hidden)](
               int64_t picture, int64_t y, int64_t x, int64_t rows, int64_t columns) {
      around.band(picture, y, x, columns, filtered);
      for (int64_t row = 0, n = 0; row < rows; ++row) {
        const Indexes indexes(*map, picture, y + row);
        for (int64_t column = 0; column < columns; ++column, ++n)
          normalise_reals(filtered + (row * kColumns + column) * channels, channels,
                          table + indexes.at(x + column) * 2 * channels, inputs + n * channels);
      }
      const auto rectified = [&](int64_t row, int64_t output, Floats sums) {
        store(between + row * hidden + output, at_least_zero(add(sums, load(block.up_bias + output))));
      };
      product<Reals>(inputs, block.up, channels, rows * columns, hidden, one_by_one(rectified));
      const auto added = [&](int64_t row, int64_t output, Floats sums) {
        const int64_t line = picture * height + y + row / columns;
        const int64_t place = (line * width + x + row % columns) * channels + output;
        store(out + place, add(add(sums, load(block.down_bias + output)), load(f + place)));
      };
      product<Reals>(between, block.down, hidden, rows * columns, channels, one_by_one(added));
    };
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
void run_posterior(const Posterior* given, const int16_t* f, const float* h, const float* gain, int64_t step,
                   const int64_t* places, int64_t wanted, float* out, int64_t count, int64_t threads) {
  const Posterior& posterior = *given;
  const int64_t width = posterior.width, latents = posterior.latents;
  in_parts(count, 1, threads, [&](int64_t start, int64_t stop) {
    const Buffer<float> both(kChunk * 2 * width), between(kChunk * width), result(kChunk * latents);
    for (int64_t first = start; first < stop; first += kChunk) {
      const int64_t chunk = std::min(kChunk, stop - first);
      for (int64_t n = 0; n < chunk; ++n) {
        std::copy_n(f + places[first + n] * width, width, both + n * 2 * width);
        std::copy_n(h + places[first + n] * width, width, both + (n * 2 + 1) * width);
      }
      const auto rectified = [&](int64_t row, int64_t output, Floats sums) {
        store(between + row * width + output, at_least_zero(add(sums, load(posterior.up_bias + output))));
      };
      product<Reals>(both, posterior.up, 2 * width, chunk, width, one_by_one(rectified));
      const auto direct = [&](int64_t row, int64_t output, Floats sums) {
        store(result + row * latents + output, add(sums, load(posterior.direct_bias + output)));
      };
      product<Reals>(both, posterior.direct, 2 * width, chunk, latents, one_by_one(direct));
      const auto added = [&](int64_t row, int64_t output, Floats sums) {
        float* here = result + row * latents + output;
        store(here, add(load(here), add(sums, load(posterior.down_bias + output))));
      };
      product<Reals>(between, posterior.down, width, chunk, latents, one_by_one(added));
      for (int64_t n = 0; n < chunk; ++n)
        multiply_each(result + n * latents, gain + (first + n) * step, wanted, out + (first + n) * wanted);
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
