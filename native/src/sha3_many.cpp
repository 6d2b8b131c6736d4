// Many messages in the lanes of one wide Keccak.
#include <algorithm>
#include <cstring>

#include "accel/sha3.hpp"
#include "sha3_sponge.hpp"

namespace accel {
namespace {

class Lanes {
 public:
  Lanes(const Sha3Kind& kind, size_t digest_size, Cpu level, const std::vector<Sha3Message>& messages)
      : kind_(kind),
        digest_size_(digest_size),
        one_(keccak_for_one(level)),
        many_(keccak_for_many(level)),
        next_(messages.data()),
        end_(messages.data() + messages.size()) {}

  void run() {
    for (size_t i = 0; i < many_.lanes; ++i) start_next(i);
    // One call on all lanes costs about as much as one on a single state for a quarter of them.
    while (active_ > many_.lanes / 4) step();
    for (size_t i = 0; i < many_.lanes; ++i) {
      while (lanes_[i].message != nullptr) finish_alone(i);
    }
  }

 private:
  struct Lane {
    const Sha3Message* message = nullptr;  // nullptr: idle
    const uint8_t* data;                   // what is to be absorbed: whole blocks of the message, or `last`
    size_t blocks;
    bool ending;                   // `last` is being absorbed
    uint8_t last[8 * kMostRateWords];  // the padded end of the message
  };

  void start_next(size_t i) {
    Lane& lane = lanes_[i];
    if (lane.message != nullptr) --active_;
    lane.message = nullptr;
    if (next_ == end_) return;
    ++active_;
    for (size_t word = 0; word < kKeccakWords; ++word) states_[word * many_.lanes + i] = 0;
    lane.message = next_++;
    lane.data = lane.message->data;
    lane.blocks = lane.message->size / kind_.rate();
    lane.ending = false;
    if (lane.blocks == 0) end(lane);
  }

  // To the last block, with which every message ends, even if there is no byte in it.
  void end(Lane& lane) {
    const size_t rest = lane.message->size % kind_.rate();
    if (rest != 0) std::memcpy(lane.last, lane.message->data + lane.message->size - rest, rest);
    pad(kind_, lane.last, rest);
    lane.data = lane.last;
    lane.blocks = 1;
    lane.ending = true;
  }

  // As many blocks as every message has.
  void step() {
    const uint8_t* data[kMostKeccakLanes];
    const uint8_t* any = nullptr;  // an idle lane absorbs somebody else's blocks; nobody looks at its state
    size_t blocks = SIZE_MAX;
    for (size_t i = 0; i < many_.lanes; ++i) {
      if (lanes_[i].message == nullptr) continue;
      any = lanes_[i].data;
      blocks = std::min(blocks, lanes_[i].blocks);
    }
    for (size_t i = 0; i < many_.lanes; ++i) data[i] = lanes_[i].message != nullptr ? lanes_[i].data : any;
    many_.absorb(states_, data, kind_.rate_words, blocks);
    for (size_t i = 0; i < many_.lanes; ++i) {
      Lane& lane = lanes_[i];
      if (lane.message == nullptr) continue;
      lane.data += blocks * kind_.rate();
      lane.blocks -= blocks;
      if (lane.blocks != 0) continue;
      if (lane.ending) {
        uint64_t state[kKeccakWords];
        take_state(i, state);
        finish(i, state);
      } else {
        end(lane);
      }
    }
  }

  void finish_alone(size_t i) {
    Lane& lane = lanes_[i];
    uint64_t state[kKeccakWords];
    take_state(i, state);
    one_.absorb(state, &lane.data, kind_.rate_words, lane.blocks);
    if (!lane.ending) {
      end(lane);
      one_.absorb(state, &lane.data, kind_.rate_words, 1);
    }
    finish(i, state);
  }

  void take_state(size_t i, uint64_t* state) const {
    for (size_t word = 0; word < kKeccakWords; ++word) state[word] = states_[word * many_.lanes + i];
  }

  void finish(size_t i, uint64_t* state) {
    squeeze(kind_, one_.absorb, state, lanes_[i].message->digest, digest_size_);
    start_next(i);
  }

  const Sha3Kind kind_;
  const size_t digest_size_;
  const KeccakPath one_, many_;
  const Sha3Message* next_;
  const Sha3Message* const end_;
  size_t active_ = 0;
  alignas(64) uint64_t states_[kKeccakWords * kMostKeccakLanes] = {};
  Lane lanes_[kMostKeccakLanes];
};

}  // namespace

void sha3_many(const Sha3Kind& kind, size_t digest_size, Cpu level, std::vector<Sha3Message>& messages) {
  std::sort(messages.begin(), messages.end(), [](const Sha3Message& a, const Sha3Message& b) { return a.size > b.size; });
  Lanes(kind, digest_size, level, messages).run();
}

}  // namespace accel
