// The Python face of the corpus and the word replacer: buffers in, buffers out, the GIL released in between.
#include "hyperfire.hpp"

#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/unique_ptr.h>

#include <memory>
#include <tuple>
#include <utility>
#include <vector>

#include "accel/corpus.hpp"
#include "accel/replace.hpp"
#include "accel/word_counts.hpp"
#include "buffers.hpp"

namespace nb = nanobind;

namespace {

// The counts of one job, with the corpus whose words they are.
class Counts {
 public:
  explicit Counts(std::shared_ptr<const accel::Corpus> corpus) : corpus_(std::move(corpus)), counts_(*corpus_) {}

  bool are_of(const accel::Corpus& corpus) const { return corpus_.get() == &corpus; }
  accel::WordCounts& counts() { return counts_; }

  std::tuple<nb::list, uint64_t> most_frequent(size_t limit) const {
    accel::WordCounts::Result result;
    {
      const nb::gil_scoped_release release;
      result = counts_.most_frequent(limit);
    }
    nb::list words;
    for (const auto& [word, count] : result.words) {
      words.append(nb::make_tuple(nb::bytes(word.data(), word.size()), count));
    }
    return {words, result.distinct};
  }

 private:
  std::shared_ptr<const accel::Corpus> corpus_;
  accel::WordCounts counts_;
};

// An array of the counts for the time of one call; nothing when there are no counts.
class Lease {
 public:
  explicit Lease(Counts* counts) : counts_(counts) {
    if (counts_) array_ = counts_->counts().take();
  }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  ~Lease() {
    if (counts_) counts_->counts().give(std::move(array_));
  }
  uint64_t* array() { return counts_ ? array_.data() : nullptr; }

 private:
  Counts* const counts_;
  std::vector<uint64_t> array_;
};

class WordReplacer {
 public:
  WordReplacer(const nb::object& file, bool ignores_case) {
    const View view(file);
    const nb::gil_scoped_release release;
    corpus_ = std::make_shared<const accel::Corpus>(view.data(), view.size(), ignores_case);
  }

  std::unique_ptr<Counts> counts() const { return std::make_unique<Counts>(corpus_); }

  const accel::CorpusFacts& facts() const { return corpus_->facts(); }

  std::tuple<std::unique_ptr<Output>, uint64_t> replace(const nb::object& window, size_t start, Counts* counts) const {
    return run(window, start, counts, [&](const View& view, accel::Buffer& output, uint64_t* array) {
      return accel::replace_words(*corpus_, view.data(), view.size(), start, output, array);
    });
  }

  std::tuple<std::unique_ptr<Output>, uint64_t> find(const nb::object& window, size_t start, uint64_t offset,
                                                     Counts* counts) const {
    return run(window, start, counts, [&](const View& view, accel::Buffer& output, uint64_t* array) {
      return accel::find_words(*corpus_, view.data(), view.size(), start, offset, output, array);
    });
  }

  size_t cut(const nb::object& window, size_t start) const {
    const View view(window);
    check(view, start);
    const nb::gil_scoped_release release;
    return accel::cut_between_words(*corpus_, view.data(), view.size(), start);
  }

 private:
  template <class Work>
  std::tuple<std::unique_ptr<Output>, uint64_t> run(const nb::object& window, size_t start, Counts* counts,
                                                    Work work) const {
    const View view(window);
    check(view, start);
    if (counts && !counts->are_of(*corpus_)) throw nb::value_error("the counts are of another replacer");
    accel::Buffer buffer = pool_->take();
    uint64_t found = 0;
    {
      const nb::gil_scoped_release release;
      Lease lease(counts);
      found = work(view, buffer, lease.array());
    }
    return {std::make_unique<Output>(pool_, std::move(buffer)), found};
  }

  static void check(const View& view, size_t start) {
    if (start > view.size()) throw nb::value_error("start lies behind the window");
    if (view.size() >= UINT32_MAX) throw nb::value_error("the window is 4 GiB or larger");
  }

  std::shared_ptr<const accel::Corpus> corpus_;
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
  nb::class_<Counts>(m, "WordCounts").def("most_frequent", &Counts::most_frequent, nb::arg("limit"));
  nb::class_<WordReplacer>(m, "WordReplacer")
      .def(nb::init<const nb::object&, bool>(), nb::arg("corpus"), nb::arg("ignore_case") = false)
      .def("counts", &WordReplacer::counts)
      .def("replace", &WordReplacer::replace, nb::arg("window"), nb::arg("start"), nb::arg("counts") = nb::none())
      .def("find", &WordReplacer::find, nb::arg("window"), nb::arg("start"), nb::arg("offset"),
           nb::arg("counts") = nb::none())
      .def("cut", &WordReplacer::cut, nb::arg("window"), nb::arg("start"))
      .def_prop_ro("words", [](const WordReplacer& self) { return self.facts().words; })
      .def_prop_ro("unmatchable_words", [](const WordReplacer& self) { return self.facts().unmatchable_words; })
      .def_prop_ro("first_unmatchable_line", [](const WordReplacer& self) { return self.facts().first_unmatchable_line; })
      .def_prop_ro("longest_word", [](const WordReplacer& self) { return self.facts().longest_word; })
      .def_prop_ro("growth", [](const WordReplacer& self) { return self.facts().growth; })
      .def_prop_ro("table_bytes", [](const WordReplacer& self) { return self.facts().table_bytes; });
}
