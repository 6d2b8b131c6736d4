// Keccak on one state in plain C++: as the compiler's base allows, and with BMI's and-not and flagless rotations.
#include <cstring>

#include "keccak_paths.hpp"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words are read as little-endian integers");

namespace accel {

namespace portable {
#define KECCAK_TARGET
#include "keccak_scalar.inl"
#include "keccak_rounds.inl"
#undef KECCAK_TARGET
}  // namespace portable

void absorb_portable(uint64_t* state, const uint8_t* const* data, size_t rate_words, size_t blocks) {
  portable::absorb(state, data, rate_words, blocks);
}

#if defined(__x86_64__)

namespace bmi2 {
#define KECCAK_TARGET __attribute__((target("bmi,bmi2")))
#include "keccak_scalar.inl"
#include "keccak_rounds.inl"
#undef KECCAK_TARGET
}  // namespace bmi2

__attribute__((target("bmi,bmi2"))) void absorb_bmi2(uint64_t* state, const uint8_t* const* data, size_t rate_words,
                                                     size_t blocks) {
  bmi2::absorb(state, data, rate_words, blocks);
}

#endif

}  // namespace accel
