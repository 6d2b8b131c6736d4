// Which of its implementations a kernel takes: the one place that asks the CPU and the environment.
#pragma once

namespace accel {

// Levels, each of which has all of those before it.
enum class Cpu {
  portable,  // what the compiler makes of plain C++
  avx2,      // x86-64 with AVX2, BMI1 and BMI2
  avx512,    // and AVX-512 F, BW, DQ and VL
};

// "portable", "avx2" or "avx512".
const char* cpu_name(Cpu level);

// What this machine can run.
Cpu cpu_of_machine();

// What kernels run: what the machine can, but no more than $ACCELERATORAPI_CPU says. The environment is read once.
// Throws std::runtime_error when the variable holds anything but a level's name.
Cpu cpu_level();

// The level of that name, for tests of a certain path; the machine must have it. Throws std::invalid_argument.
Cpu cpu_level_named(const char* name);

}  // namespace accel
