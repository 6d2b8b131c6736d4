// The sponge of FIPS 202, sections 4 and 6: padding, absorbing in pieces, squeezing.
#include "accel/sha3.hpp"

#include <algorithm>
#include <cstring>

#include "sha3_sponge.hpp"

namespace accel {
namespace {

constexpr uint8_t kHash = 0x06;    // 01, then 1 of the padding
constexpr uint8_t kExtend = 0x1F;  // 1111, then 1

constexpr Sha3Kind kKinds[] = {
    {"sha3-224", 18, kHash, 28}, {"sha3-256", 17, kHash, 32},   {"sha3-384", 13, kHash, 48},
    {"sha3-512", 9, kHash, 64},  {"shake-128", 21, kExtend, 0}, {"shake-256", 17, kExtend, 0},
};

}  // namespace

const Sha3Kind* find_sha3(const char* name) {
  const auto* const kind =
      std::find_if(std::begin(kKinds), std::end(kKinds), [name](const Sha3Kind& k) { return std::strcmp(k.name, name) == 0; });
  return kind == std::end(kKinds) ? nullptr : kind;
}

void pad(const Sha3Kind& kind, uint8_t* block, size_t size) {
  std::memset(block + size, 0, kind.rate() - size);
  block[size] = kind.suffix;
  block[kind.rate() - 1] |= 0x80;
}

void squeeze(const Sha3Kind& kind, Absorb absorb, uint64_t* state, uint8_t* to, size_t size) {
  static constexpr uint8_t kNothing[8 * kMostRateWords] = {};
  const uint8_t* const nothing = kNothing;
  while (true) {
    const size_t part = std::min(size, kind.rate());
    if (part != 0) std::memcpy(to, state, part);
    to += part;
    size -= part;
    if (size == 0) return;
    absorb(state, &nothing, kind.rate_words, 1);
  }
}

Sha3::Sha3(const Sha3Kind& kind, Cpu level) : kind_(kind), absorb_(keccak_for_one(level).absorb) {}

void Sha3::update(const uint8_t* data, size_t size) {
  const size_t rate = kind_.rate();
  if (rest_size_ != 0) {
    const size_t part = std::min(size, rate - rest_size_);
    if (part != 0) std::memcpy(rest_ + rest_size_, data, part);
    rest_size_ += part;
    data += part;
    size -= part;
    if (rest_size_ < rate) return;
    const uint8_t* const block = rest_;
    absorb_(state_, &block, kind_.rate_words, 1);
    rest_size_ = 0;
  }
  const size_t blocks = size / rate;
  if (blocks != 0) absorb_(state_, &data, kind_.rate_words, blocks);
  rest_size_ = size - blocks * rate;
  if (rest_size_ != 0) std::memcpy(rest_, data + blocks * rate, rest_size_);
}

void Sha3::digest(uint8_t* to, size_t size) const {
  uint64_t state[kKeccakWords];
  uint8_t last[8 * kMostRateWords];
  std::memcpy(state, state_, sizeof state);
  std::memcpy(last, rest_, rest_size_);
  pad(kind_, last, rest_size_);
  const uint8_t* const block = last;
  absorb_(state, &block, kind_.rate_words, 1);
  squeeze(kind_, absorb_, state, to, size);
}

}  // namespace accel
