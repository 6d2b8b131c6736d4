// What bindings/sha3.cpp adds to the module.
#pragma once

#include <nanobind/nanobind.h>

void bind_sha3(nanobind::module_& m);
