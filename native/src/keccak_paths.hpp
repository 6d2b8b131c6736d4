// The implementations that keccak.cpp chooses from.
#pragma once

#include "accel/keccak.hpp"

namespace accel {

void absorb_portable(uint64_t* state, const uint8_t* const* data, size_t rate_words, size_t blocks);
#if defined(__x86_64__)
void absorb_bmi2(uint64_t* state, const uint8_t* const* data, size_t rate_words, size_t blocks);
void absorb_avx2_4(uint64_t* state, const uint8_t* const* data, size_t rate_words, size_t blocks);
void absorb_avx512_1(uint64_t* state, const uint8_t* const* data, size_t rate_words, size_t blocks);
void absorb_avx512_8(uint64_t* state, const uint8_t* const* data, size_t rate_words, size_t blocks);
#endif

}  // namespace accel
