// What bindings/cpu.cpp adds to the module.
#pragma once

#include <nanobind/nanobind.h>

void bind_cpu(nanobind::module_& m);
