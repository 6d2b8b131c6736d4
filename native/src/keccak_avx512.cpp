// Keccak with AVX-512, whose rotations and three-operand logic are single instructions: on one state, each word in a
// register of its own, and on eight states, one a 64-bit element of each register.
#include "keccak_paths.hpp"

#if defined(__x86_64__)

#include <immintrin.h>

#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 finds its own header's "undefined" registers uninitialized (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

// GCC 12 orders the instructions a few per cent better for this core, also for those of AMD.
#if defined(__GNUC__) && !defined(__clang__)
#define KECCAK_TARGET __attribute__((target("avx512f,avx512vl,tune=skylake-avx512")))
#else
#define KECCAK_TARGET __attribute__((target("avx512f,avx512vl")))
#endif
#define AVX512 KECCAK_INLINE

namespace accel {
namespace {

// Truth tables of vpternlogq.
constexpr int kXor3 = 0x96;
constexpr int kChi = 0xD2;

}  // namespace

namespace avx512_1 {

using Lane = __m128i;  // the upper half is not used
constexpr size_t kLanes = 1;

template <int N>
AVX512 Lane rotl(Lane lane) {
  return N == 0 ? lane : _mm_rol_epi64(lane, N);
}
AVX512 Lane xor2(Lane a, Lane b) { return _mm_xor_si128(a, b); }
AVX512 Lane xor3(Lane a, Lane b, Lane c) { return _mm_ternarylogic_epi64(a, b, c, kXor3); }
AVX512 Lane chi(Lane a, Lane b, Lane c) { return _mm_ternarylogic_epi64(a, b, c, kChi); }
AVX512 Lane every(uint64_t word) { return _mm_set1_epi64x(static_cast<int64_t>(word)); }
AVX512 Lane load(const uint64_t* from) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)); }
AVX512 void store(uint64_t* to, Lane lane) { _mm_storel_epi64(reinterpret_cast<__m128i*>(to), lane); }

class Input {
 public:
  AVX512 Input(const uint8_t* const* data, size_t rate_words) : block_(data[0]), size_(8 * rate_words) {}
  // Becomes a broadcasting operand of the XOR.
  AVX512 Lane word(size_t i) const { return _mm_set1_epi64x(load_word(block_, i)); }
  AVX512 void next(bool) { block_ += size_; }

 private:
  const uint8_t* block_;
  size_t size_;
};

#include "keccak_rounds.inl"

}  // namespace avx512_1

namespace avx512_8 {

using Lane = __m512i;
constexpr size_t kLanes = 8;

template <int N>
AVX512 Lane rotl(Lane lane) {
  return N == 0 ? lane : _mm512_rol_epi64(lane, N);
}
AVX512 Lane xor2(Lane a, Lane b) { return _mm512_xor_si512(a, b); }
AVX512 Lane xor3(Lane a, Lane b, Lane c) { return _mm512_ternarylogic_epi64(a, b, c, kXor3); }
AVX512 Lane chi(Lane a, Lane b, Lane c) { return _mm512_ternarylogic_epi64(a, b, c, kChi); }
AVX512 Lane every(uint64_t word) { return _mm512_set1_epi64(static_cast<int64_t>(word)); }
AVX512 Lane load(const uint64_t* from) { return _mm512_loadu_si512(from); }
AVX512 void store(uint64_t* to, Lane lane) { _mm512_storeu_si512(to, lane); }

// Transposes 8 x 8 words: pairs of words, then of 128-bit, then of 256-bit parts.
AVX512 void turn_square(const uint8_t* const* data, size_t i, Lane* words) {
  Lane pairs[8], fours[8];
  for (size_t r = 0; r < 8; r += 2) {
    const Lane even = _mm512_loadu_si512(data[r] + 8 * i), odd = _mm512_loadu_si512(data[r + 1] + 8 * i);
    pairs[r] = _mm512_unpacklo_epi64(even, odd);      // words 0, 2, 4, 6 of two messages
    pairs[r + 1] = _mm512_unpackhi_epi64(even, odd);  // words 1, 3, 5, 7
  }
  for (size_t odd = 0; odd < 2; ++odd) {
    for (size_t r = 0; r < 8; r += 4) {
      const Lane first = pairs[r + odd], second = pairs[r + 2 + odd];
      fours[r + odd] = _mm512_shuffle_i64x2(first, second, 0x88);      // words 0, 4 (1, 5) of four messages
      fours[r + 2 + odd] = _mm512_shuffle_i64x2(first, second, 0xDD);  // words 2, 6 (3, 7)
    }
    for (size_t two = 0; two < 4; two += 2) {
      const Lane first = fours[two + odd], second = fours[4 + two + odd];
      words[odd + two] = _mm512_shuffle_i64x2(first, second, 0x88);
      words[odd + two + 4] = _mm512_shuffle_i64x2(first, second, 0xDD);
    }
  }
}

AVX512 Lane column(const uint8_t* const* data, size_t i) {
  return _mm512_set_epi64(load_word(data[7], i), load_word(data[6], i), load_word(data[5], i), load_word(data[4], i),
                          load_word(data[3], i), load_word(data[2], i), load_word(data[1], i), load_word(data[0], i));
}

#include "keccak_turned.inl"
#include "keccak_rounds.inl"

}  // namespace avx512_8

KECCAK_TARGET void absorb_avx512_1(uint64_t* state, const uint8_t* const* data, size_t rate_words, size_t blocks) {
  avx512_1::absorb(state, data, rate_words, blocks);
}

KECCAK_TARGET void absorb_avx512_8(uint64_t* state, const uint8_t* const* data, size_t rate_words, size_t blocks) {
  avx512_8::absorb(state, data, rate_words, blocks);
}

}  // namespace accel

#endif
