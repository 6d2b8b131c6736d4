// The Python face of the sources of random bytes: they fill writable buffers, the GIL released.
#include "entropy.hpp"

#include <cstring>

#include "accel/entropy.hpp"
#include "accel/health.hpp"
#include "buffers.hpp"

namespace nb = nanobind;

namespace {


template <void (*Fill)(uint8_t*, size_t)>
void fill(const nb::object& buffer) {
  const View view(buffer, PyBUF_WRITABLE);
  const nb::gil_scoped_release release;
  Fill(view.writable(), view.size());
}

void feed(accel::HealthTests& tests, const nb::object& samples) {
  const View view(samples, PyBUF_SIMPLE);
  if (view.size() % sizeof(uint64_t) != 0) throw nb::value_error("samples are whole words of 8 bytes");
  for (size_t at = 0; at < view.size(); at += sizeof(uint64_t)) {
    uint64_t word = 0;
    std::memcpy(&word, view.data() + at, sizeof word);
    tests.feed(word);
  }
}

}  // namespace

void bind_entropy(nb::module_& m) {
  nb::exception<accel::EntropyError>(m, "EntropyError", PyExc_RuntimeError);
  m.def("fill_from_kernel", &fill<accel::fill_from_kernel>, nb::arg("buffer"));
  m.def("fill_from_rdseed", &fill<accel::fill_from_rdseed>, nb::arg("buffer"));
  m.def("has_rdseed", &accel::has_rdseed);
  nb::class_<accel::HealthTests>(m, "HealthTests")
      .def(nb::init<>())
      .def("feed", &feed, nb::arg("samples"))
      .def_ro_static("WINDOW", &accel::HealthTests::kWindow)
      .def_ro_static("WORD_REPETITIONS", &accel::HealthTests::kWordRepetitions)
      .def_ro_static("WORD_PROPORTION", &accel::HealthTests::kWordProportion)
      .def_ro_static("BYTE_PROPORTION", &accel::HealthTests::kByteProportion)
      .def_ro_static("STARTUP_WORDS", &accel::HealthTests::kStartupWords);
}
