// The ends of a sponge that one message and many share.
#pragma once

#include "accel/sha3.hpp"

namespace accel {

// Ends the message in `block`, of which `size` bytes, less than the rate, are filled.
void pad(const Sha3Kind& kind, uint8_t* block, size_t size);

// The output of a state that has absorbed its last block.
void squeeze(const Sha3Kind& kind, Absorb absorb, uint64_t* state, uint8_t* to, size_t size);

}  // namespace accel
