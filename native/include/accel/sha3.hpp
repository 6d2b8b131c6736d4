// The hash functions of FIPS 202: SHA3-224, -256, -384, -512, SHAKE128 and SHAKE256; one message in pieces, or many whole
// ones at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "accel/keccak.hpp"

namespace accel {

struct Sha3Kind {
  const char* name;
  size_t rate_words;
  uint8_t suffix;      // the bits after the message, and the first of the padding (FIPS 202, B.2)
  size_t digest_size;  // 0 for SHAKE, whose output has any length

  size_t rate() const { return 8 * rate_words; }
};

// By its name ("sha3-256", "shake-128"); nullptr when there is none.
const Sha3Kind* find_sha3(const char* name);

// One message, in pieces.
class Sha3 {
 public:
  Sha3(const Sha3Kind& kind, Cpu level);

  void update(const uint8_t* data, size_t size);

  // Writes `size` bytes: the digest, or as much of SHAKE's output as is wanted. The message may go on afterwards.
  void digest(uint8_t* to, size_t size) const;

 private:
  Sha3Kind kind_;
  Absorb absorb_;
  uint64_t state_[kKeccakWords] = {};
  uint8_t rest_[8 * kMostRateWords];  // of an unfinished block
  size_t rest_size_ = 0;
};

struct Sha3Message {
  const uint8_t* data;
  size_t size;
  uint8_t* digest;  // where it goes
};

// The digests, of `digest_size` bytes, of whole messages of any sizes. The messages take turns in the lanes of the
// widest implementation: a lane whose message ends takes the next one, the long ones first. Reorders `messages`.
void sha3_many(const Sha3Kind& kind, size_t digest_size, Cpu level, std::vector<Sha3Message>& messages);

}  // namespace accel
