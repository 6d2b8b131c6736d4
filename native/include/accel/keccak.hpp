// The permutation Keccak-p[1600, 24] (FIPS 202, section 3), over one state or several at once. What is absorbed, how
// messages end and what is squeezed is not here.
#pragma once

#include <cstddef>
#include <cstdint>

#include "accel/cpu.hpp"

namespace accel {

constexpr size_t kKeccakWords = 25;
constexpr size_t kMostKeccakLanes = 8;
// The rates that functions of FIPS 202 have, in words of 8 bytes; an Absorb knows no others.
constexpr size_t kLeastRateWords = 9;  // SHA3-512
constexpr size_t kMostRateWords = 21;  // SHAKE128

// For each of `blocks` blocks of `rate_words` words: XORs them into the state and permutes it. Lane i reads from data[i];
// word w of its state is state[w * lanes + i].
using Absorb = void (*)(uint64_t* state, const uint8_t* const* data, size_t rate_words, size_t blocks);

struct KeccakPath {
  const char* name;
  size_t lanes;  // independent states that one call works on
  Absorb absorb;
};

// The quickest for one message, and for many.
KeccakPath keccak_for_one(Cpu level);
KeccakPath keccak_for_many(Cpu level);

}  // namespace accel
