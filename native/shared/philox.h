// Philox4x32-10 (Salmon et al., SC 2011): random words as a pure function of
// (seed, counter), so what an element draws depends on its index alone.
//
// Element i of a tensor draws word i % 4 of the block at counter offset + i / 4;
// n elements use up philox_blocks(n) counters whatever their type. Values of
// more than 32 bits take their low word from the same place of stream 1.
// Plain integer code: every backend includes it.
#pragma once

#include <cstdint>

#include "shared/host_device.h"

namespace bptt {

struct PhiloxBlock {
  uint32_t word[4];
};

struct PhiloxKey {
  uint32_t word[2];
};

constexpr int kPhiloxRounds = 10;

// The key of one round; the seed's low word comes first.
BPTT_HOST_DEVICE constexpr PhiloxKey philox_key(uint64_t seed, int round) {
  return {{static_cast<uint32_t>(seed) + static_cast<uint32_t>(round) * 0x9E3779B9u,
           static_cast<uint32_t>(seed >> 32) + static_cast<uint32_t>(round) * 0xBB67AE85u}};
}

BPTT_HOST_DEVICE constexpr PhiloxBlock philox_round(PhiloxBlock c, PhiloxKey key) {
  const uint64_t product0 = uint64_t{0xD2511F53u} * c.word[0];
  const uint64_t product1 = uint64_t{0xCD9E8D57u} * c.word[2];
  return {{static_cast<uint32_t>(product1 >> 32) ^ c.word[1] ^ key.word[0],
           static_cast<uint32_t>(product1),
           static_cast<uint32_t>(product0 >> 32) ^ c.word[3] ^ key.word[1],
           static_cast<uint32_t>(product0)}};
}

// The cipher itself, on a 128-bit counter.
BPTT_HOST_DEVICE constexpr PhiloxBlock philox4x32(PhiloxBlock counter, uint64_t seed) {
  for (int round = 0; round < kPhiloxRounds; ++round)
    counter = philox_round(counter, philox_key(seed, round));
  return counter;
}

// stream 0 holds the leading words, stream 1 the low words of wider values.
BPTT_HOST_DEVICE constexpr PhiloxBlock philox(uint64_t seed, uint64_t counter,
                                              uint32_t stream = 0) {
  return philox4x32(
      {{static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), stream, 0}}, seed);
}

// The word of one element. Loops over many elements share a block among four.
BPTT_HOST_DEVICE constexpr uint32_t philox_word(uint64_t seed, uint64_t offset, int64_t i,
                                                uint32_t stream = 0) {
  return philox(seed, offset + static_cast<uint64_t>(i) / 4, stream).word[i % 4];
}

// Counters that n elements use: what the offset advances by.
BPTT_HOST_DEVICE constexpr uint64_t philox_blocks(int64_t n) {
  return (static_cast<uint64_t>(n) + 3) / 4;
}

// [0, 1) in steps of 2^-24, from one word.
BPTT_HOST_DEVICE constexpr float uniform_float32(uint32_t word) {
  return static_cast<float>(static_cast<int32_t>(word >> 8)) * (1.0f / 16777216.0f);
}

// [0, 1) in steps of 2^-53, from two words.
BPTT_HOST_DEVICE constexpr double uniform_float64(uint32_t word, uint32_t low) {
  return static_cast<double>(static_cast<int64_t>((uint64_t{word} << 32 | low) >> 11)) *
         (1.0 / 9007199254740992.0);
}

// Dropout keeps an element when its word >= threshold, the same elements in
// every type. 64 bits wide, for p = 1 keeps none.
BPTT_HOST_DEVICE constexpr uint64_t dropout_threshold(double p) {
  return static_cast<uint64_t>(p * 4294967296.0);
}

// What a kept element is multiplied by.
BPTT_HOST_DEVICE constexpr double dropout_scale(double p) { return p < 1 ? 1 / (1 - p) : 0; }

}  // namespace bptt
