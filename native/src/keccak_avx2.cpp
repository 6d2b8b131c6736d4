// Keccak on four states at once, one a 64-bit element of each AVX2 register.
#include "keccak_paths.hpp"

#if defined(__x86_64__)

#include <immintrin.h>

#include <cstring>

namespace accel {
namespace avx2 {

#define KECCAK_TARGET __attribute__((target("avx2")))
#define AVX2 KECCAK_TARGET __attribute__((always_inline)) inline

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

// The block's words, turned so that each register has the same word of all messages.
class Input {
 public:
  AVX2 Input(const uint8_t* const* data, size_t rate_words) : rate_words_(rate_words) {
    for (size_t i = 0; i < kLanes; ++i) data_[i] = data[i];
    turn();
  }
  AVX2 Lane word(size_t i) const { return words_[i]; }
  AVX2 void next(bool more) {
    if (!more) return;
    for (const uint8_t*& data : data_) data += 8 * rate_words_;
    turn();
  }

 private:
  AVX2 void turn() {
    size_t i = 0;
    for (; i + kLanes <= rate_words_; i += kLanes) {
      const Lane r0 = row(0, i), r1 = row(1, i), r2 = row(2, i), r3 = row(3, i);
      const Lane low01 = _mm256_unpacklo_epi64(r0, r1), high01 = _mm256_unpackhi_epi64(r0, r1);
      const Lane low23 = _mm256_unpacklo_epi64(r2, r3), high23 = _mm256_unpackhi_epi64(r2, r3);
      words_[i] = _mm256_permute2x128_si256(low01, low23, 0x20);
      words_[i + 1] = _mm256_permute2x128_si256(high01, high23, 0x20);
      words_[i + 2] = _mm256_permute2x128_si256(low01, low23, 0x31);
      words_[i + 3] = _mm256_permute2x128_si256(high01, high23, 0x31);
    }
    for (; i < rate_words_; ++i) words_[i] = _mm256_set_epi64x(one(3, i), one(2, i), one(1, i), one(0, i));
  }
  AVX2 Lane row(size_t lane, size_t i) const {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(data_[lane] + 8 * i));
  }
  AVX2 int64_t one(size_t lane, size_t i) const {
    int64_t word;
    std::memcpy(&word, data_[lane] + 8 * i, 8);
    return word;
  }

  const uint8_t* data_[kLanes];
  size_t rate_words_;
  Lane words_[kMostRateWords];
};

#include "keccak_rounds.inl"

}  // namespace avx2

KECCAK_TARGET void absorb_avx2_4(uint64_t* state, const uint8_t* const* data, size_t rate_words, size_t blocks) {
  avx2::absorb(state, data, rate_words, blocks);
}

}  // namespace accel

#endif
