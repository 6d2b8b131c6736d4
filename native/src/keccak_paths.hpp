// The implementations that keccak.cpp chooses from.
#pragma once

#include <cstring>

#include "accel/keccak.hpp"

// For a function of an implementation, which defines KECCAK_TARGET.
#define KECCAK_INLINE KECCAK_TARGET __attribute__((always_inline)) inline

namespace accel {

__attribute__((always_inline)) inline int64_t load_word(const uint8_t* block, size_t i) {
  int64_t word;
  std::memcpy(&word, block + 8 * i, 8);
  return word;
}

void absorb_portable(uint64_t* state, const uint8_t* const* data, size_t rate_words, size_t blocks);
#if defined(__x86_64__)
void absorb_bmi2(uint64_t* state, const uint8_t* const* data, size_t rate_words, size_t blocks);
void absorb_avx2_4(uint64_t* state, const uint8_t* const* data, size_t rate_words, size_t blocks);
void absorb_avx512_1(uint64_t* state, const uint8_t* const* data, size_t rate_words, size_t blocks);
void absorb_avx512_8(uint64_t* state, const uint8_t* const* data, size_t rate_words, size_t blocks);
#endif

}  // namespace accel
