// Python buffers in and out.
#pragma once

#include <nanobind/nanobind.h>

#include <memory>
#include <utility>

#include "accel/buffer.hpp"

// Borrows the bytes of a Python buffer; with PyBUF_WRITABLE they may be changed.
class View {
 public:
  explicit View(nanobind::handle object, int flags = PyBUF_SIMPLE) {
    if (PyObject_GetBuffer(object.ptr(), &view_, flags) != 0) throw nanobind::python_error();
  }
  View(const View&) = delete;
  View& operator=(const View&) = delete;
  ~View() { PyBuffer_Release(&view_); }
  const uint8_t* data() const { return static_cast<const uint8_t*>(view_.buf); }
  uint8_t* writable() const { return static_cast<uint8_t*>(view_.buf); }
  size_t size() const { return static_cast<size_t>(view_.len); }

 private:
  Py_buffer view_;
};

// A pooled buffer as a read-only Python buffer; it goes back to its pool with its last reference.
struct Output {
  std::shared_ptr<accel::BufferPool> pool;
  accel::Buffer buffer;
  Output(std::shared_ptr<accel::BufferPool> from, accel::Buffer&& bytes) : pool(std::move(from)), buffer(std::move(bytes)) {}
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;
  ~Output() { pool->give(std::move(buffer)); }
};

void bind_buffers(nanobind::module_& m);
