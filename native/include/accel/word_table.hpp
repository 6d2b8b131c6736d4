// A perfect hash table of tokens of up to 16 bytes: every key has a slot of its own, so that a lookup is one
// comparison, with no loop and no branch. What stands in the slots is the owner's matter.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "accel/huge_pages.hpp"

namespace accel {

constexpr size_t kLongestKey = 16;

// What turns the word characters of a key to lower case: their capitals lack this bit, the others have it, and "_"
// turns into a byte that is no word character.
constexpr uint64_t kLowerCase = 0x2020202020202020ull;

// A token's bytes, zero-padded. Tokens hold no zero byte, so that different tokens have different keys.
struct alignas(16) Key {
  uint64_t low, high;
  bool operator==(const Key& other) const { return low == other.low && high == other.high; }
};

// Reads no byte beyond the token, whose size is 1 to 16.
inline Key key_of(const uint8_t* token, size_t size) {
  uint8_t bytes[kLongestKey] = {};
  std::memcpy(bytes, token, size);
  Key key;
  std::memcpy(&key.low, bytes, 8);
  std::memcpy(&key.high, bytes + 8, 8);
  return key;
}

// "Hash and displace" (Pagh, 1999; Belazzougui, Botelho and Dietzfelbinger, 2009): a first hash chooses a group, and
// each group has a multiplier, found by trial, that sends its keys to free slots.
class WordTable {
 public:
  // Multiplicative hashing: a product's top bits depend on all bits of the key.
  struct Hash {
    uint64_t low = 1, high = 1;
    unsigned group_shift = 63, slot_shift = 63;
    const uint32_t* multipliers = nullptr;

    size_t operator()(Key key) const {
      const uint64_t mixed = key.low * low + key.high * high;
      return (mixed * multipliers[mixed >> group_shift]) >> slot_shift;
    }
  };

  // Keys may repeat.
  void build(const std::vector<Key>& keys);

  size_t size() const { return keys_.size(); }
  const Key* keys() const { return keys_.data(); }  // one per slot; all zero where there is none
  const Hash& hash() const { return hash_; }
  size_t memory_bytes() const { return keys_.capacity() * sizeof(Key) + multipliers_.capacity() * sizeof(uint32_t); }

 private:
  bool try_build(const std::vector<Key>& keys);
  bool place(const Key* begin, const Key* end, uint64_t group);

  Hash hash_;
  Table<uint32_t> multipliers_;
  Table<Key> keys_;
};

}  // namespace accel
