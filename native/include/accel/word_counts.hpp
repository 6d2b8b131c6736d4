// How often each word of a corpus was found, counted by several threads at once.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "accel/corpus.hpp"

namespace accel {

// The corpus must outlive its counts.
class WordCounts {
 public:
  explicit WordCounts(const Corpus& corpus) : corpus_(corpus) {}

  // An array with an entry per word id for one thread's use, until it is given back.
  std::vector<uint64_t> take();
  void give(std::vector<uint64_t> counts);

  // The words that were found: how many there are, and the `limit` most frequent of them, first the most frequent,
  // then by their bytes. To be called when every array has been given back.
  struct Result {
    uint64_t distinct = 0;
    std::vector<std::pair<std::string, uint64_t>> words;
  };
  Result most_frequent(size_t limit) const;

 private:
  const Corpus& corpus_;
  std::mutex lock_;
  std::vector<std::vector<uint64_t>> free_;
};

}  // namespace accel
