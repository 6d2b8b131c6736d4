// The Python face of output buffers.
#include "buffers.hpp"

namespace nb = nanobind;

namespace {

int get_buffer(PyObject* self, Py_buffer* view, int flags) {
  accel::Buffer& buffer = nb::inst_ptr<Output>(self)->buffer;
  return PyBuffer_FillInfo(view, self, buffer.data(), static_cast<Py_ssize_t>(buffer.size), 1, flags);
}

PyType_Slot output_slots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(get_buffer)}, {0, nullptr}};

}  // namespace

void bind_buffers(nb::module_& m) { nb::class_<Output>(m, "Output", nb::type_slots(output_slots)); }
