// Random corpora and texts through the word replacer, judged by a slow plain one, for a build with sanitizers:
// every text lies in a block of its exact size, so that reading one byte too far is seen.
// Usage: fuzz_replace [seed [seconds]]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "accel/corpus.hpp"
#include "accel/replace.hpp"
#include "accel/word_edges.hpp"

namespace {

using Words = std::map<std::string, std::string>;

const uint8_t* bytes_of(const std::string& text) { return reinterpret_cast<const uint8_t*>(text.data()); }

struct Exact {
  explicit Exact(const std::string& text) : bytes(new uint8_t[text.size()]), size(text.size()) {
    std::copy(text.begin(), text.end(), bytes.get());
  }
  std::unique_ptr<uint8_t[]> bytes;
  size_t size;
};

bool word_at(const std::string& text, size_t i) { return i < text.size() && accel::is_word(bytes_of(text)[i]); }

std::string slow_replace(const Words& words, const std::string& text, uint64_t& count) {
  std::string output;
  size_t i = 0;
  while (i < text.size()) {
    const std::pair<const std::string, std::string>* best = nullptr;
    if (word_at(text, i) && !(i > 0 && word_at(text, i - 1))) {
      for (const auto& entry : words) {
        const std::string& word = entry.first;
        if (word_at(word, 0) && word_at(word, word.size() - 1) && text.compare(i, word.size(), word) == 0 &&
            !word_at(text, i + word.size()) && (!best || word.size() > best->first.size())) {
          best = &entry;
        }
      }
    }
    if (best) {
      output += best->second;
      i += best->first.size();
      ++count;
    } else {
      output += text[i++];
    }
  }
  return output;
}

class Fuzzer {
 public:
  explicit Fuzzer(uint64_t seed) : random_(seed) {}

  void round() {
    alphabet_ = pick(kAlphabets);
    Words words;
    for (size_t n = 1 + below(14); n > 0; --n) {
      std::string word = some_bytes(1 + below(pick(kWordSizes)));
      words[without(word, ",\n")] = without(some_bytes(below(pick(kWordSizes) * 2)), "\n\r");
    }
    words.erase("");
    if (words.empty()) return;
    std::string file;
    for (const auto& [word, text] : words) file += word + "," + text + (below(2) ? "\n" : "\r\n");
    const Exact exact_file(file);
    const accel::Corpus corpus(exact_file.bytes.get(), exact_file.size);
    const std::string text = some_text(words);
    uint64_t expected_count = 0;
    const std::string expected = slow_replace(words, text, expected_count);
    check(corpus, text, text.size() + 1, expected, expected_count);
    check(corpus, text, 2 * corpus.facts().longest_word + 2 + below(200), expected, expected_count);
    check_edges(text);
  }

  // Any bytes at all as a corpus file: refused or taken, never a wrong access.
  void round_of_malformed_files() {
    alphabet_ = "ab,,\n\n\r -\xc3";
    const Exact file(some_bytes(below(60)));
    try {
      const accel::Corpus corpus(file.bytes.get(), file.size);
      const Exact text(some_bytes(below(60)));
      accel::Buffer output;
      accel::replace_words(corpus, text.bytes.get(), text.size, 0, output);
    } catch (const accel::CorpusError&) {
      ++refused_;
    }
  }

  uint64_t refused() const { return refused_; }

 private:
  inline static const std::vector<std::string> kAlphabets = {
      "ab ", "ab -\xc3", "a_ \n", "abcdefgh    ", std::string("aZ\0 09@[`{/:", 12)};
  inline static const std::vector<size_t> kWordSizes = {2, 5, 9, 17, 40, 90};

  uint64_t below(uint64_t limit) { return limit ? random_() % limit : 0; }
  template <class T>
  const T& pick(const std::vector<T>& from) {
    return from[below(from.size())];
  }
  std::string some_bytes(size_t size) {
    std::string made;
    while (made.size() < size) made += alphabet_[below(alphabet_.size())];
    return made;
  }
  static std::string without(std::string text, const std::string& banned) {
    text.erase(std::remove_if(text.begin(), text.end(), [&](char c) { return banned.find(c) != std::string::npos; }),
               text.end());
    return text;
  }
  std::string some_text(const Words& words) {
    std::string text;
    const size_t pieces = pick(std::vector<size_t>{0, 1, 4, 30, 900});
    for (size_t n = 0; n < pieces; ++n) {
      const uint64_t kind = below(5);
      if (kind < 3) text += std::next(words.begin(), static_cast<long>(below(words.size())))->first;
      if (kind < 2) text += ' ';
      if (kind == 3) text += some_bytes(below(30));
      if (kind == 4) text.append(below(80), below(2) ? 'a' : ' ');
    }
    return text;
  }

  static void check(const accel::Corpus& corpus, const std::string& text, size_t region, const std::string& expected,
                    uint64_t expected_count) {
    std::string got;
    uint64_t count = 0;
    accel::Buffer output;
    for (size_t at = 0; at < text.size();) {
      const size_t behind = at == 0 ? 0 : 1;
      const Exact window(text.substr(at - behind, region + behind));
      size_t stop = window.size;
      if (at + region < text.size()) stop = accel::cut_between_words(corpus, window.bytes.get(), window.size, behind);
      require(stop > behind && stop <= window.size, "a cut outside its region");
      const Exact cut(text.substr(at - behind, stop));
      count += accel::replace_words(corpus, cut.bytes.get(), cut.size, behind, output);
      got.append(reinterpret_cast<const char*>(output.data()), output.size);
      at += stop - behind;
    }
    require(got == expected && count == expected_count, "a wrong replacement");
  }

  static void check_edges(const std::string& text) {
    const Exact exact(text);
    for (const bool before : {false, true}) {
      std::vector<uint32_t> quick(text.size() + accel::kEdgeSlack), plain(quick);
      bool quick_inside = before, plain_inside = before;
      quick.resize(static_cast<size_t>(
          accel::find_edges()(exact.bytes.get(), exact.size, 7, quick_inside, quick.data()) - quick.data()));
      plain.resize(static_cast<size_t>(
          accel::find_edges_portable(exact.bytes.get(), exact.size, 7, plain_inside, plain.data()) - plain.data()));
      require(quick == plain && quick_inside == plain_inside, "implementations of find_edges differ");
    }
  }

  static void require(bool held, const char* what) {
    if (held) return;
    std::fprintf(stderr, "fuzz_replace: %s\n", what);
    std::abort();
  }

  std::mt19937_64 random_;
  std::string alphabet_;
  uint64_t refused_ = 0;
};

}  // namespace

int main(int count, char** arguments) {
  const uint64_t seed = count > 1 ? std::strtoull(arguments[1], nullptr, 10) : 1;
  const std::chrono::seconds time(count > 2 ? std::strtol(arguments[2], nullptr, 10) : 20);
  Fuzzer fuzzer(seed);
  const auto end = std::chrono::steady_clock::now() + time;
  uint64_t rounds = 0;
  for (; std::chrono::steady_clock::now() < end; ++rounds) {
    fuzzer.round();
    fuzzer.round_of_malformed_files();
  }
  std::printf("fuzz_replace: seed %llu, %llu rounds, %llu malformed corpora refused\n",
              static_cast<unsigned long long>(seed), static_cast<unsigned long long>(rounds),
              static_cast<unsigned long long>(fuzzer.refused()));
}
