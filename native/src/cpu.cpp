// The CPU's features by the compiler's own detection, and the variable that limits them.
#include "accel/cpu.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

namespace accel {
namespace {

constexpr Cpu kLevels[] = {Cpu::portable, Cpu::avx2, Cpu::avx512};
constexpr char kVariable[] = "ACCELERATORAPI_CPU";

const Cpu* find(const char* name) {
  for (const Cpu& level : kLevels) {
    if (std::strcmp(cpu_name(level), name) == 0) return &level;
  }
  return nullptr;
}

Cpu limited_by_environment() {
  const char* const value = std::getenv(kVariable);
  if (value == nullptr || *value == '\0') return cpu_of_machine();
  const Cpu* const limit = find(value);
  if (limit == nullptr) {
    throw std::runtime_error(std::string(kVariable) + " = '" + value + "': set it to portable, avx2 or avx512, or unset it");
  }
  return std::min(*limit, cpu_of_machine());
}

}  // namespace

const char* cpu_name(Cpu level) {
  switch (level) {
    case Cpu::avx512:
      return "avx512";
    case Cpu::avx2:
      return "avx2";
    case Cpu::portable:
      break;
  }
  return "portable";
}

Cpu cpu_of_machine() {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("bmi") || !__builtin_cpu_supports("bmi2")) {
    return Cpu::portable;
  }
  const bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  return has_avx512 ? Cpu::avx512 : Cpu::avx2;
#else
  return Cpu::portable;
#endif
}

Cpu cpu_level() {
  static const Cpu level = limited_by_environment();
  return level;
}

Cpu cpu_level_named(const char* name) {
  const Cpu* const level = find(name);
  if (level == nullptr) throw std::invalid_argument(std::string("no CPU level '") + name + "': portable, avx2 or avx512");
  if (*level > cpu_of_machine()) throw std::invalid_argument(std::string("this CPU has no ") + name);
  return *level;
}

}  // namespace accel
