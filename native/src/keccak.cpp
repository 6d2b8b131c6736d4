// The choice among the implementations of Keccak.
#include "accel/keccak.hpp"

#include "keccak_paths.hpp"

namespace accel {

KeccakPath keccak_for_one(Cpu level) {
#if defined(__x86_64__)
  if (level >= Cpu::avx512) return {"avx512, state in registers", 1, absorb_avx512_1};
  if (level >= Cpu::avx2) return {"scalar with bmi2", 1, absorb_bmi2};
#endif
  static_cast<void>(level);
  return {"scalar", 1, absorb_portable};
}

KeccakPath keccak_for_many(Cpu level) {
#if defined(__x86_64__)
  if (level >= Cpu::avx512) return {"avx512, 8 lanes", 8, absorb_avx512_8};
  if (level >= Cpu::avx2) return {"avx2, 4 lanes", 4, absorb_avx2_4};
#endif
  static_cast<void>(level);
  return {"scalar", 1, absorb_portable};
}

}  // namespace accel
