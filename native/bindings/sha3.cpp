// The Python face of the SHA-3 functions: one message in pieces, and the files of a tar stream; the GIL is released.
#include "sha3.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>

#include <memory>
#include <optional>
#include <string>

#include "accel/sha3.hpp"
#include "accel/sha3_folder.hpp"
#include "buffers.hpp"

namespace nb = nanobind;

namespace {

const accel::Sha3Kind& kind_of(const std::string& name, size_t length) {
  const accel::Sha3Kind* const kind = accel::find_sha3(name.c_str());
  if (kind == nullptr) throw nb::value_error("no such function of FIPS 202");
  if (kind->digest_size != 0 && kind->digest_size != length) throw nb::value_error("this function's digest has another length");
  return *kind;
}

accel::Cpu level_of(const std::optional<std::string>& name) {
  return name ? accel::cpu_level_named(name->c_str()) : accel::cpu_level();
}

class Sha3 {
 public:
  Sha3(const std::string& kind, size_t length, const std::optional<std::string>& cpu)
      : hash_(kind_of(kind, length), level_of(cpu)), length_(length) {}

  void update(const nb::object& data) {
    const View view(data);
    const nb::gil_scoped_release release;
    hash_.update(view.data(), view.size());
  }

  nb::bytes digest() const {
    std::string digest(length_, '\0');
    {
      const nb::gil_scoped_release release;
      hash_.digest(reinterpret_cast<uint8_t*>(digest.data()), length_);
    }
    return nb::bytes(digest.data(), digest.size());
  }

 private:
  accel::Sha3 hash_;
  size_t length_;
};

class Region {
 public:
  Region(std::unique_ptr<accel::Sha3Region> region, size_t size, size_t length)
      : region_(std::move(region)), size_(size), length_(length) {}

  nb::list run(const nb::object& window) {
    const View view(window);
    if (view.size() != size_ || done_) throw nb::value_error("not the bytes that were planned, or hashed before");
    done_ = true;
    {
      const nb::gil_scoped_release release;
      region_->run(view.data());
    }
    nb::list digests;
    for (const auto& [path, target, bytes] : region_->digests()) {
      const nb::object digest = target.empty() ? nb::object(nb::bytes(bytes, length_)) : nb::object(nb::none());
      digests.append(nb::make_tuple(nb::bytes(path.data(), path.size()), nb::bytes(target.data(), target.size()), digest));
    }
    return digests;
  }

 private:
  std::unique_ptr<accel::Sha3Region> region_;
  size_t size_, length_;
  bool done_ = false;
};

class Sha3Folder {
 public:
  Sha3Folder(const std::string& kind, size_t length, const std::optional<std::string>& cpu)
      : folder(kind_of(kind, length), length, level_of(cpu)), length_(length) {}

  size_t cut(const nb::object& window) const {
    const View view(window);
    const nb::gil_scoped_release release;
    return folder.cut(view.data(), view.size());
  }

  std::unique_ptr<Region> plan(const nb::object& region) {
    const View view(region);
    const nb::gil_scoped_release release;
    return std::make_unique<Region>(folder.plan(view.data(), view.size()), view.size(), length_);
  }

  accel::Sha3Folder folder;

 private:
  size_t length_;
};

}  // namespace

void bind_sha3(nb::module_& m) {
  static PyObject* stream_error = nullptr;
  nb::exception<accel::TarStreamError> error(m, "TarStreamError", PyExc_ValueError);
  stream_error = error.ptr();
  nb::register_exception_translator([](const std::exception_ptr& raised, void*) {
    try {
      std::rethrow_exception(raised);
    } catch (const accel::TarStreamError& e) {
      const nb::tuple args = nb::make_tuple(e.offset, e.what());
      PyErr_SetObject(stream_error, args.ptr());
    }
  });
  nb::class_<Sha3>(m, "Sha3")
      .def(nb::init<const std::string&, size_t, const std::optional<std::string>&>(), nb::arg("kind"), nb::arg("length"),
           nb::arg("cpu") = nb::none())
      .def("update", &Sha3::update, nb::arg("data"))
      .def("digest", &Sha3::digest);
  nb::class_<Region>(m, "Sha3Region").def("run", &Region::run, nb::arg("region"));
  nb::class_<Sha3Folder>(m, "Sha3Folder")
      .def(nb::init<const std::string&, size_t, const std::optional<std::string>&>(), nb::arg("kind"), nb::arg("length"),
           nb::arg("cpu") = nb::none())
      .def("cut", &Sha3Folder::cut, nb::arg("window"))
      .def("plan", &Sha3Folder::plan, nb::arg("region"))
      .def("finish", [](const Sha3Folder& self) { self.folder.finish(); })
      .def_prop_ro("files", [](const Sha3Folder& self) { return self.folder.files(); })
      .def_prop_ro("passed_over", [](const Sha3Folder& self) { return self.folder.passed_over(); })
      .def_ro_static("most_files", &accel::Sha3Folder::kMostFiles);
}
