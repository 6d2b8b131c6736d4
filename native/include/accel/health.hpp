// The continuous health tests of NIST SP 800-90B, section 4.4, on samples of 64 bits and of 8.
#pragma once

#include <cstdint>

#include "accel/entropy.hpp"

namespace accel {

// 4.4.1: the same sample `Cutoff` times one after the other.
template <class Sample, unsigned Cutoff>
class RepetitionCount {
 public:
  bool holds(Sample sample) {
    repeats_ = seen_ && sample == last_ ? repeats_ + 1 : 1;
    last_ = sample;
    seen_ = true;
    return repeats_ < Cutoff;
  }

 private:
  Sample last_ = 0;
  bool seen_ = false;
  unsigned repeats_ = 0;
};

// 4.4.2: the first sample of a window `Cutoff` times in that window, itself counted.
template <class Sample, unsigned Window, unsigned Cutoff>
class AdaptiveProportion {
 public:
  bool holds(Sample sample) {
    if (at_ == 0) {
      first_ = sample;
      count_ = 0;
    }
    count_ += sample == first_;
    at_ = (at_ + 1) % Window;
    return count_ < Cutoff;
  }

 private:
  Sample first_ = 0;
  unsigned at_ = 0;
  unsigned count_ = 0;
};

// The tests that one run of a noise source passes, word by word. The cutoffs follow from a false-alarm probability of
// 2^-40 a test and a presumed min-entropy of half of what is delivered: 32 bits a word of 64, 4 bits a byte. A perfect
// source has less to fear: by chance, a word comes again in its window with a probability of 2^-55.
class HealthTests {
 public:
  static constexpr unsigned kWindow = 512;
  static constexpr unsigned kWordRepetitions = 3;  // 1 + ceil(40 / 32)
  static constexpr unsigned kWordProportion = 2;   // 1 + the 1 - 2^-40 quantile of Binomial(512, 2^-32)
  static constexpr unsigned kByteProportion = 78;  // 1 + the 1 - 2^-40 quantile of Binomial(512, 2^-4)
  static constexpr unsigned kStartupWords = 1024;  // 4.3: tested before the first sample is used, and dropped

  // Throws EntropyError, which names the test, its cutoff and the sample.
  void feed(uint64_t word);

 private:
  uint64_t words_ = 0;
  RepetitionCount<uint64_t, kWordRepetitions> word_repetition_;
  AdaptiveProportion<uint64_t, kWindow, kWordProportion> word_proportion_;
  AdaptiveProportion<uint8_t, kWindow, kByteProportion> byte_proportion_;
};

}  // namespace accel
