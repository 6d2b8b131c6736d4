// The Python face of the folder packer and the tar editor.
#include "folder.hpp"

#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>

#include <memory>
#include <mutex>
#include <string>

#include "accel/folder_packer.hpp"
#include "accel/tar_editor.hpp"
#include "buffers.hpp"

namespace nb = nanobind;

namespace {

std::string text_of(const nb::bytes& bytes) { return std::string(bytes.c_str(), bytes.size()); }
nb::bytes bytes_of(const std::string& text) { return nb::bytes(text.data(), text.size()); }

class FolderPacker {
 public:
  FolderPacker(const nb::bytes& root, const nb::bytes& top, unsigned threads)
      : packer_(std::make_unique<accel::FolderPacker>(text_of(root), text_of(top), threads)) {}

  ~FolderPacker() { close(); }

  size_t readinto(const nb::object& buffer) {
    const View view(buffer, PyBUF_WRITABLE);
    const nb::gil_scoped_release release;
    const std::lock_guard<std::mutex> guard(reading_);
    return open().read(view.writable(), view.size());
  }

  void close() {
    const nb::gil_scoped_release release;
    const std::lock_guard<std::mutex> guard(reading_);
    if (packer_) facts_ = packer_->facts();
    packer_.reset();
  }

  accel::FolderPacker& open() {
    if (!packer_) throw nb::value_error("the folder was closed");
    return *packer_;
  }

  const accel::FolderFacts& facts() const { return packer_ ? packer_->facts() : facts_; }

 private:
  std::mutex reading_;
  std::unique_ptr<accel::FolderPacker> packer_;
  accel::FolderFacts facts_;
};

class TarEditor {
 public:
  std::unique_ptr<Output> edit(const nb::object& piece) {
    const View view(piece);
    accel::Buffer buffer = pool_->take();
    buffer.size = 0;
    {
      const nb::gil_scoped_release release;
      editor.edit(view.data(), view.size(), buffer);
    }
    return std::make_unique<Output>(pool_, std::move(buffer));
  }

  std::unique_ptr<Output> finish() {
    accel::Buffer buffer = pool_->take();
    buffer.size = 0;
    editor.finish(buffer);
    return std::make_unique<Output>(pool_, std::move(buffer));
  }

  accel::TarEditor editor;

 private:
  std::shared_ptr<accel::BufferPool> pool_ = std::make_shared<accel::BufferPool>();
};

}  // namespace

void bind_folder(nb::module_& m) {
  static PyObject* folder_error = nullptr;
  nb::exception<accel::FolderError> error(m, "FolderError", PyExc_OSError);
  folder_error = error.ptr();
  nb::register_exception_translator([](const std::exception_ptr& raised, void*) {
    try {
      std::rethrow_exception(raised);
    } catch (const accel::FolderError& e) {
      const nb::tuple args = nb::make_tuple(e.code, nb::str(e.what()), bytes_of(e.path));
      PyErr_SetObject(folder_error, args.ptr());
    }
  });
  nb::exception<accel::TarError>(m, "TarError", PyExc_ValueError);
  nb::class_<FolderPacker>(m, "FolderPacker")
      .def(nb::init<const nb::bytes&, const nb::bytes&, unsigned>(), nb::arg("root"), nb::arg("top"), nb::arg("threads"))
      .def("readinto", &FolderPacker::readinto, nb::arg("buffer"))
      .def("normalise", [](FolderPacker& self) { self.open().normalise(); })
      .def("omit_end", [](FolderPacker& self) { self.open().omit_end(); })
      .def("close", &FolderPacker::close)
      .def_prop_ro("entries", [](const FolderPacker& self) { return self.facts().entries; })
      .def_prop_ro("changed", [](const FolderPacker& self) { return self.facts().changed; })
      .def_prop_ro("vanished", [](const FolderPacker& self) { return self.facts().vanished; })
      .def_prop_ro("sockets", [](const FolderPacker& self) { return self.facts().sockets; })
      .def_prop_ro("first_changed", [](const FolderPacker& self) { return bytes_of(self.facts().first_changed); })
      .def_prop_ro("first_vanished", [](const FolderPacker& self) { return bytes_of(self.facts().first_vanished); })
      .def_prop_ro("first_socket", [](const FolderPacker& self) { return bytes_of(self.facts().first_socket); });
  nb::class_<TarEditor>(m, "TarEditor")
      .def(nb::init<>())
      .def("edit", &TarEditor::edit, nb::arg("piece"))
      .def("finish", &TarEditor::finish)
      .def("normalise", [](TarEditor& self) { self.editor.normalise(); })
      .def("omit_end", [](TarEditor& self) { self.editor.omit_end(); })
      .def_prop_ro("members", [](const TarEditor& self) { return self.editor.members(); });
}
