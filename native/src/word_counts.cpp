// Counting found words: an array a thread, added up at the end.
#include "accel/word_counts.hpp"

#include <algorithm>

namespace accel {

std::vector<uint64_t> WordCounts::take() {
  {
    const std::lock_guard<std::mutex> guard(lock_);
    if (!free_.empty()) {
      std::vector<uint64_t> counts = std::move(free_.back());
      free_.pop_back();
      return counts;
    }
  }
  return std::vector<uint64_t>(corpus_.word_ids());
}

void WordCounts::give(std::vector<uint64_t> counts) {
  const std::lock_guard<std::mutex> guard(lock_);
  free_.push_back(std::move(counts));
}

WordCounts::Result WordCounts::most_frequent(size_t limit) const {
  using Entry = std::pair<std::string, uint64_t>;
  const auto comes_first = [](const Entry& a, const Entry& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  };
  Result result;
  std::vector<Entry>& heap = result.words;  // its front is the last of the words kept
  for (size_t id = 0; id < corpus_.word_ids(); ++id) {
    uint64_t count = 0;
    for (const auto& counts : free_) count += counts[id];
    if (count == 0) continue;
    ++result.distinct;
    if (heap.size() == limit && (limit == 0 || count < heap.front().second)) continue;
    heap.emplace_back(corpus_.word(id), count);
    std::push_heap(heap.begin(), heap.end(), comes_first);
    if (heap.size() > limit) {
      std::pop_heap(heap.begin(), heap.end(), comes_first);
      heap.pop_back();
    }
  }
  std::sort_heap(heap.begin(), heap.end(), comes_first);
  return result;
}

}  // namespace accel
