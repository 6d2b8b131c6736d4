// What bindings/folder.cpp adds to the module.
#pragma once

#include <nanobind/nanobind.h>

void bind_folder(nanobind::module_& m);
