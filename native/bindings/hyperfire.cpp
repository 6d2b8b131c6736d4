// The Python face of the corpus and the word replacer: buffers in, buffers out, the GIL released in between.
#include "hyperfire.hpp"

#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/unique_ptr.h>

#include <memory>
#include <tuple>

#include "accel/corpus.hpp"
#include "accel/replace.hpp"
#include "buffers.hpp"

namespace nb = nanobind;

namespace {

class WordReplacer {
 public:
  explicit WordReplacer(const nb::object& file) {
    const View view(file);
    const nb::gil_scoped_release release;
    corpus_ = std::make_unique<accel::Corpus>(view.data(), view.size());
  }

  const accel::CorpusFacts& facts() const { return corpus_->facts(); }

  std::tuple<std::unique_ptr<Output>, uint64_t> replace(const nb::object& window, size_t start) const {
    const View view(window);
    check(view, start);
    accel::Buffer buffer = pool_->take();
    uint64_t replaced = 0;
    {
      const nb::gil_scoped_release release;
      replaced = accel::replace_words(*corpus_, view.data(), view.size(), start, buffer);
    }
    return {std::make_unique<Output>(pool_, std::move(buffer)), replaced};
  }

  size_t cut(const nb::object& window, size_t start) const {
    const View view(window);
    check(view, start);
    const nb::gil_scoped_release release;
    return accel::cut_between_words(*corpus_, view.data(), view.size(), start);
  }

 private:
  static void check(const View& view, size_t start) {
    if (start > view.size()) throw nb::value_error("start lies behind the window");
    if (view.size() >= UINT32_MAX) throw nb::value_error("the window is 4 GiB or larger");
  }

  std::unique_ptr<accel::Corpus> corpus_;
  std::shared_ptr<accel::BufferPool> pool_ = std::make_shared<accel::BufferPool>();
};

}  // namespace

void bind_hyperfire(nb::module_& m) {
  static PyObject* corpus_error = nullptr;
  nb::exception<accel::CorpusError> error(m, "CorpusError", PyExc_ValueError);
  corpus_error = error.ptr();
  nb::register_exception_translator([](const std::exception_ptr& raised, void*) {
    try {
      std::rethrow_exception(raised);
    } catch (const accel::CorpusError& e) {
      const nb::tuple args = nb::make_tuple(e.line, nb::bytes(e.text.data(), e.text.size()), e.what());
      PyErr_SetObject(corpus_error, args.ptr());
    }
  });
  nb::class_<WordReplacer>(m, "WordReplacer")
      .def(nb::init<const nb::object&>(), nb::arg("corpus"))
      .def("replace", &WordReplacer::replace, nb::arg("window"), nb::arg("start"))
      .def("cut", &WordReplacer::cut, nb::arg("window"), nb::arg("start"))
      .def_prop_ro("words", [](const WordReplacer& self) { return self.facts().words; })
      .def_prop_ro("unmatchable_words", [](const WordReplacer& self) { return self.facts().unmatchable_words; })
      .def_prop_ro("first_unmatchable_line", [](const WordReplacer& self) { return self.facts().first_unmatchable_line; })
      .def_prop_ro("longest_word", [](const WordReplacer& self) { return self.facts().longest_word; })
      .def_prop_ro("longest_replacement", [](const WordReplacer& self) { return self.facts().longest_replacement; })
      .def_prop_ro("table_bytes", [](const WordReplacer& self) { return self.facts().table_bytes; });
}
