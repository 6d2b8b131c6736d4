// What every fuzz program takes from its command line: [SEED [SECONDS ...]].
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdlib>

class FuzzRun {
 public:
  FuzzRun(int count, char** arguments)
      : seed_(count > 1 ? std::strtoull(arguments[1], nullptr, 10) : 1),
        end_(std::chrono::steady_clock::now() + std::chrono::seconds(count > 2 ? std::strtol(arguments[2], nullptr, 10) : 20)) {}

  unsigned long long seed() const { return seed_; }
  unsigned long long rounds() const { return rounds_; }

  // Whether there is time for another round, which is counted.
  bool next_round() {
    const bool more = std::chrono::steady_clock::now() < end_;
    rounds_ += more;
    return more;
  }

 private:
  const uint64_t seed_;
  const std::chrono::steady_clock::time_point end_;
  uint64_t rounds_ = 0;
};
