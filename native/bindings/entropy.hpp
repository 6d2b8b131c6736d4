// What bindings/entropy.cpp adds to the module.
#pragma once

#include <nanobind/nanobind.h>

void bind_entropy(nanobind::module_& m);
