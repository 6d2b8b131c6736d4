// getrandom(2) of Linux, and RDSEED as "Intel 64 and IA-32 Architectures Software Developer's Manual", vol. 1, 7.3.17
// describes it: the carry flag says whether the word is random; on an underflow the caller tries again.
#include "accel/entropy.hpp"

#include <cerrno>
#include <cstring>
#include <string>

#if defined(__linux__)
#include <sys/random.h>
#endif
#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

#include "accel/health.hpp"

namespace accel {

void fill_from_kernel(uint8_t* data, size_t size) {
#if defined(__linux__)
  while (size > 0) {
    const ssize_t got = getrandom(data, size, 0);
    if (got < 0) {
      if (errno == EINTR) continue;
      throw EntropyError(std::string("getrandom: ") + std::strerror(errno));
    }
    data += got;
    size -= static_cast<size_t>(got);
  }
#else
  if (size > 0) throw EntropyError("getrandom: this system has none");
#endif
}

#if defined(__x86_64__)

namespace {

// Two cores that draw at once drain the conditioner, so that underflows are normal; this many in a row are not.
constexpr unsigned kTries = 1'000'000;

__attribute__((target("rdseed"))) uint64_t rdseed() {
  for (unsigned tries = 0; tries < kTries; ++tries) {
    unsigned long long word = 0;
    if (_rdseed64_step(&word)) return word;
    _mm_pause();
  }
  throw EntropyError("RDSEED gave nothing in 1,000,000 tries");
}

}  // namespace

bool has_rdseed() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & bit_RDSEED) != 0;
}

void fill_from_rdseed(uint8_t* data, size_t size) {
  if (!has_rdseed()) throw EntropyError("this CPU has no RDSEED");
  HealthTests tests;
  const auto tested = [&tests] {
    const uint64_t word = rdseed();
    tests.feed(word);
    return word;
  };
  for (unsigned n = 0; n < HealthTests::kStartupWords; ++n) tested();
  while (size > 0) {
    const uint64_t word = tested();
    const size_t count = size < sizeof word ? size : sizeof word;
    std::memcpy(data, &word, count);
    data += count;
    size -= count;
  }
}

#else

bool has_rdseed() { return false; }

void fill_from_rdseed(uint8_t*, size_t) { throw EntropyError("this CPU has no RDSEED"); }

#endif

}  // namespace accel
