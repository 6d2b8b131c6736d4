// What bindings/hyperfire.cpp adds to the module.
#pragma once

#include <nanobind/nanobind.h>

void bind_hyperfire(nanobind::module_& m);
