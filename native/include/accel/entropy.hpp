// Random bytes from the operating system and from the CPU.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>

namespace accel {

// A source of random bytes that gives none, or that looks broken.
struct EntropyError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Fills `data` by getrandom(2); waits, at boot, until the kernel's generator has its seed. Throws EntropyError.
void fill_from_kernel(uint8_t* data, size_t size);

// Whether this CPU has the RDSEED instruction.
bool has_rdseed();

// Fills `data` by RDSEED; every word first passes HealthTests, which start anew and drop their start-up samples.
// Throws EntropyError.
void fill_from_rdseed(uint8_t* data, size_t size);

}  // namespace accel
