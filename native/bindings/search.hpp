// The Python face of searching bytes.
#pragma once

#include <nanobind/nanobind.h>

void bind_search(nanobind::module_& m);
