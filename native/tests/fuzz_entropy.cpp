// Broken and good sources through the health tests, judged by plain ones that look at everything at once, and blocks
// of exact sizes filled by the real sources, for a build with sanitizers.
// Usage: fuzz_entropy [seed [seconds]]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include "accel/entropy.hpp"
#include "accel/health.hpp"
#include "fuzz_run.hpp"

namespace {

using accel::HealthTests;

void require(bool held, const char* what) {
  if (held) return;
  std::fprintf(stderr, "fuzz_entropy: %s\n", what);
  std::abort();
}

// Whether the first sample of some window is there `cutoff` times.
template <class Sample>
bool frequent(const std::vector<Sample>& samples, size_t cutoff) {
  for (size_t at = 0; at < samples.size(); at += HealthTests::kWindow) {
    const auto end = samples.begin() + static_cast<long>(std::min(at + HealthTests::kWindow, samples.size()));
    if (std::count(samples.begin() + static_cast<long>(at), end, samples[at]) >= static_cast<long>(cutoff)) return true;
  }
  return false;
}

bool plainly_healthy(const std::vector<uint64_t>& words) {
  std::vector<uint8_t> bytes;
  for (const uint64_t word : words) {
    for (unsigned shift = 0; shift < 64; shift += 8) bytes.push_back(static_cast<uint8_t>(word >> shift));
  }
  for (size_t at = 2; at < words.size(); ++at) {
    if (words[at] == words[at - 1] && words[at] == words[at - 2]) return false;
  }
  return !frequent(words, HealthTests::kWordProportion) && !frequent(bytes, HealthTests::kByteProportion);
}

// Words of some kind of source: good, with few values, biased, or stuck after a while.
std::vector<uint64_t> some_words(std::mt19937_64& random) {
  std::vector<uint64_t> words(random() % 1500);
  const uint64_t kind = random() % 5;
  const uint64_t mask = kind == 1 ? random() : ~uint64_t{0};
  const uint64_t values = kind == 2 ? 1 + random() % 4000 : 0;
  const uint64_t bias = random() % 256;
  for (size_t at = 0; at < words.size(); ++at) {
    words[at] = random() & mask;
    if (values) words[at] = random() % values * 0x9E3779B97F4A7C15u;
    if (kind == 3) {
      for (unsigned shift = 0; shift < 64; shift += 8) {
        if (random() % 256 < bias) words[at] &= ~(uint64_t{0xFF} << shift);
      }
    }
    if (kind == 4 && at > 0 && random() % 512 == 0) words[at] = words[at - 1];
  }
  return words;
}

bool healthy(const std::vector<uint64_t>& words) {
  HealthTests tests;
  try {
    for (const uint64_t word : words) tests.feed(word);
  } catch (const accel::EntropyError&) {
    return false;
  }
  return true;
}

void fill_exactly(void (*fill)(uint8_t*, size_t), size_t size) {
  const std::unique_ptr<uint8_t[]> block(new uint8_t[size]);
  fill(block.get(), size);
}

}  // namespace

int main(int count, char** arguments) {
  FuzzRun run(count, arguments);
  std::mt19937_64 random(run.seed());
  uint64_t failed = 0;
  while (run.next_round()) {
    const std::vector<uint64_t> words = some_words(random);
    const bool passed = healthy(words);
    require(passed == plainly_healthy(words), "a wrong verdict");
    failed += !passed;
    fill_exactly(accel::fill_from_kernel, random() % 5000);
    if (accel::has_rdseed() && run.rounds() % 16 == 0) fill_exactly(accel::fill_from_rdseed, random() % 300);
  }
  std::printf("fuzz_entropy: seed %llu, %llu rounds, %llu sources failed\n", run.seed(), run.rounds(),
              static_cast<unsigned long long>(failed));
}
