// Health tests of a noise source: NIST SP 800-90B, section 4.4.
#include "accel/health.hpp"

#include <string>

namespace accel {

namespace {

[[noreturn]] void fail(const char* test, const char* sample, unsigned cutoff, uint64_t number) {
  throw EntropyError(std::string("the source failed the ") + test + " test on " + sample + ": cutoff " +
                     std::to_string(cutoff) + " reached at sample " + std::to_string(number));
}

}  // namespace

void HealthTests::feed(uint64_t word) {
  if (!word_repetition_.holds(word)) fail("repetition count", "words", kWordRepetitions, words_);
  if (!word_proportion_.holds(word)) fail("adaptive proportion", "words", kWordProportion, words_);
  for (unsigned byte = 0; byte < 8; ++byte) {
    if (!byte_proportion_.holds(static_cast<uint8_t>(word >> (8 * byte)))) {
      fail("adaptive proportion", "bytes", kByteProportion, words_ * 8 + byte);
    }
  }
  ++words_;
}

}  // namespace accel
