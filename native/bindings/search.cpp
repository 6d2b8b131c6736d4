// The Python face of searching bytes: Python's own search keeps the GIL.
#include "search.hpp"

#include <cstring>

#include "buffers.hpp"

namespace nb = nanobind;

namespace {

Py_ssize_t find(nb::handle data, const nb::bytes& wanted) {
  const View view(data);
  const char* const text = wanted.c_str();
  const size_t size = wanted.size();
  const nb::gil_scoped_release release;
  const void* const found = memmem(view.data(), view.size(), text, size);
  return found ? static_cast<const uint8_t*>(found) - view.data() : -1;
}

}  // namespace

void bind_search(nb::module_& m) { m.def("find", &find, nb::arg("data"), nb::arg("wanted")); }
