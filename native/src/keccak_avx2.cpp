// Keccak on four states at once, one a 64-bit element of each AVX2 register.
#include "keccak_paths.hpp"

#if defined(__x86_64__)

#include <immintrin.h>

namespace accel {
namespace avx2 {

#define KECCAK_TARGET __attribute__((target("avx2")))
#define AVX2 KECCAK_INLINE

using Lane = __m256i;
constexpr size_t kLanes = 4;

template <int N>
AVX2 Lane rotl(Lane lane) {
  if constexpr (N == 0) return lane;
  if constexpr (N == 8) {  // whole bytes: one shuffle
    return _mm256_shuffle_epi8(lane, _mm256_setr_epi8(7, 0, 1, 2, 3, 4, 5, 6, 15, 8, 9, 10, 11, 12, 13, 14,  //
                                                      7, 0, 1, 2, 3, 4, 5, 6, 15, 8, 9, 10, 11, 12, 13, 14));
  }
  if constexpr (N == 56) {
    return _mm256_shuffle_epi8(lane, _mm256_setr_epi8(1, 2, 3, 4, 5, 6, 7, 0, 9, 10, 11, 12, 13, 14, 15, 8,  //
                                                      1, 2, 3, 4, 5, 6, 7, 0, 9, 10, 11, 12, 13, 14, 15, 8));
  }
  return _mm256_or_si256(_mm256_slli_epi64(lane, N), _mm256_srli_epi64(lane, 64 - N));
}
AVX2 Lane xor2(Lane a, Lane b) { return _mm256_xor_si256(a, b); }
AVX2 Lane xor3(Lane a, Lane b, Lane c) { return xor2(xor2(a, b), c); }
AVX2 Lane chi(Lane a, Lane b, Lane c) { return _mm256_xor_si256(a, _mm256_andnot_si256(b, c)); }
AVX2 Lane every(uint64_t word) { return _mm256_set1_epi64x(static_cast<int64_t>(word)); }
AVX2 Lane load(const uint64_t* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }
AVX2 void store(uint64_t* to, Lane lane) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), lane); }

AVX2 Lane row(const uint8_t* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }

AVX2 void turn_square(const uint8_t* const* data, size_t i, Lane* words) {
  const Lane r0 = row(data[0] + 8 * i), r1 = row(data[1] + 8 * i), r2 = row(data[2] + 8 * i), r3 = row(data[3] + 8 * i);
  const Lane low01 = _mm256_unpacklo_epi64(r0, r1), high01 = _mm256_unpackhi_epi64(r0, r1);
  const Lane low23 = _mm256_unpacklo_epi64(r2, r3), high23 = _mm256_unpackhi_epi64(r2, r3);
  words[0] = _mm256_permute2x128_si256(low01, low23, 0x20);
  words[1] = _mm256_permute2x128_si256(high01, high23, 0x20);
  words[2] = _mm256_permute2x128_si256(low01, low23, 0x31);
  words[3] = _mm256_permute2x128_si256(high01, high23, 0x31);
}

AVX2 Lane column(const uint8_t* const* data, size_t i) {
  return _mm256_set_epi64x(load_word(data[3], i), load_word(data[2], i), load_word(data[1], i), load_word(data[0], i));
}

#include "keccak_turned.inl"
#include "keccak_rounds.inl"

}  // namespace avx2

KECCAK_TARGET void absorb_avx2_4(uint64_t* state, const uint8_t* const* data, size_t rate_words, size_t blocks) {
  avx2::absorb(state, data, rate_words, blocks);
}

}  // namespace accel

#endif
