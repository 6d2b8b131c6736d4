// Building the perfect hash table.
#include "accel/word_table.hpp"

#include <algorithm>
#include <stdexcept>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "keys are read as little-endian integers");

namespace accel {
namespace {

constexpr size_t kKeysPerGroup = 3;
constexpr uint32_t kTrials = 1u << 20;  // of multipliers for one group
constexpr int kBuilds = 32;             // with other hashes, when a group finds none

unsigned bits_for(size_t least) {
  unsigned bits = 4;
  while ((size_t{1} << bits) < least) ++bits;
  return bits;
}

uint64_t mix(uint64_t z) {  // the finalizer of Sebastiano Vigna's splitmix64
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

}  // namespace

void WordTable::build(const std::vector<Key>& keys) {
  // At most 2/3 full.
  const unsigned slot_bits = bits_for(keys.size() + keys.size() / 2);
  const unsigned group_bits = bits_for(keys.size() / kKeysPerGroup);
  hash_.slot_shift = 64 - slot_bits;
  hash_.group_shift = 64 - group_bits;
  for (int attempt = 0; attempt < kBuilds; ++attempt) {
    hash_.low = mix(2 * static_cast<uint64_t>(attempt) + 1) | 1;
    hash_.high = mix(2 * static_cast<uint64_t>(attempt) + 2) | 1;
    keys_.assign(size_t{1} << slot_bits, Key{0, 0});
    multipliers_.assign(size_t{1} << group_bits, 1);
    hash_.multipliers = multipliers_.data();
    if (try_build(keys)) return;
  }
  throw std::runtime_error("no perfect hash found for this corpus");
}

bool WordTable::try_build(const std::vector<Key>& keys) {
  const auto group_of = [this](const Key& key) {
    return (key.low * hash_.low + key.high * hash_.high) >> hash_.group_shift;
  };
  // Sort the keys by group (counting sort), then the groups by size: the large ones need the free slots most.
  std::vector<uint32_t> starts(multipliers_.size() + 1);
  for (const Key& key : keys) ++starts[group_of(key) + 1];
  const uint32_t largest = *std::max_element(starts.begin(), starts.end());
  std::vector<std::vector<uint32_t>> groups_of_size(largest + 1);
  for (size_t group = 0; group < multipliers_.size(); ++group) {
    if (starts[group + 1]) groups_of_size[starts[group + 1]].push_back(static_cast<uint32_t>(group));
    starts[group + 1] += starts[group];
  }
  std::vector<Key> sorted(keys.size());
  std::vector<uint32_t> next(starts.begin(), starts.end() - 1);
  for (const Key& key : keys) sorted[next[group_of(key)]++] = key;
  for (size_t size = largest; size > 0; --size) {
    for (const uint32_t group : groups_of_size[size]) {
      Key* const begin = sorted.data() + starts[group];
      Key* const end = begin + size;
      std::sort(begin, end, [](const Key& a, const Key& b) { return a.low != b.low ? a.low < b.low : a.high < b.high; });
      if (!place(begin, std::unique(begin, end), group)) return false;
    }
  }
  return true;
}

bool WordTable::place(const Key* begin, const Key* end, uint64_t group) {
  for (uint32_t trial = 0; trial < kTrials; ++trial) {
    multipliers_[group] = (trial * 0x9E3779B1u) | 1;
    const Key* key = begin;
    for (; key != end && keys_[hash_(*key)].low == 0; ++key) keys_[hash_(*key)] = *key;
    if (key == end) return true;
    while (key != begin) keys_[hash_(*--key)] = Key{0, 0};
  }
  return false;
}

}  // namespace accel
