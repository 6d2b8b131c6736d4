// Random corpora and texts through the word replacer and finder, judged by a slow plain one, for a build with sanitizers:
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
#include "accel/word_counts.hpp"
#include "accel/word_edges.hpp"
#include "fuzz_run.hpp"

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

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool equal(const std::string& text, size_t i, const std::string& word, bool ignores_case) {
  if (text.size() - i < word.size()) return false;
  return std::equal(word.begin(), word.end(), text.begin() + static_cast<long>(i),
                    [=](char a, char b) { return a == b || (ignores_case && lower(a) == lower(b)); });
}

// What a text turns into, what is found in it, and how often each word is.
struct Expected {
  std::string replaced, found;
  std::map<std::string, uint64_t> counts;
};

Expected slow_scan(const Words& words, const std::string& text, bool ignores_case) {
  Expected expected;
  size_t i = 0;
  while (i < text.size()) {
    const std::pair<const std::string, std::string>* best = nullptr;
    if (word_at(text, i) && !(i > 0 && word_at(text, i - 1))) {
      for (const auto& entry : words) {
        const std::string& word = entry.first;
        if (word_at(word, 0) && word_at(word, word.size() - 1) && equal(text, i, word, ignores_case) &&
            !word_at(text, i + word.size()) && (!best || word.size() > best->first.size())) {
          best = &entry;
        }
      }
    }
    if (best) {
      expected.replaced += best->second;
      expected.found += std::to_string(i) + ":" + text.substr(i, best->first.size()) + "\n";
      ++expected.counts[best->first];
      i += best->first.size();
    } else {
      expected.replaced += text[i++];
    }
  }
  return expected;
}

class Fuzzer {
 public:
  explicit Fuzzer(uint64_t seed) : random_(seed) {}

  void round() {
    alphabet_ = pick(kAlphabets);
    const bool ignores_case = below(2) != 0;
    const Words words = some_words(ignores_case);
    if (words.empty()) return;
    std::string file;
    for (const auto& [word, text] : words) file += word + "," + text + (below(2) ? "\n" : "\r\n");
    // So many words more make the table one that is read ahead; no text of ours has them.
    for (size_t n = below(200) == 0 ? 50'000 : 0; n > 0; --n) file += "filler" + std::to_string(n) + ",x\n";
    const Exact exact_file(file);
    const accel::Corpus corpus(exact_file.bytes.get(), exact_file.size, ignores_case);
    const std::string text = some_text(words);
    const Expected expected = slow_scan(words, text, ignores_case);
    check(corpus, text, text.size() + 1, expected);
    check(corpus, text, 2 * corpus.facts().longest_word + 2 + below(200), expected);
    check_edges(text);
  }

  // Any bytes at all as a corpus file: refused or taken, never a wrong access.
  void round_of_malformed_files() {
    alphabet_ = "ab,,\n\n\r -\xc3";
    const Exact file(some_bytes(below(60)));
    try {
      const accel::Corpus corpus(file.bytes.get(), file.size, below(2) != 0);
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
      "ab ", "abAB -@`_", "ab -\xc3", "a_ \n", "abcdefgh    ", std::string("aZ\0 09@[`{/:", 12)};
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
  Words some_words(bool ignores_case) {
    Words words;
    std::map<std::string, bool> known;
    for (size_t n = 1 + below(14); n > 0; --n) {
      const std::string word = without(some_bytes(1 + below(pick(kWordSizes))), ",\n");
      std::string folded = word;
      if (ignores_case) std::transform(word.begin(), word.end(), folded.begin(), lower);
      if (!word.empty() && !known[folded]) words[word] = without(some_bytes(below(pick(kWordSizes) * 2)), "\n\r");
      known[folded] = true;
    }
    return words;
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

  static void check(const accel::Corpus& corpus, const std::string& text, size_t region, const Expected& expected) {
    std::string replaced, counted, found;
    uint64_t count = 0, total = 0;
    accel::Buffer output;
    const auto append = [&](std::string& to) { to.append(reinterpret_cast<const char*>(output.data()), output.size); };
    accel::WordCounts counts(corpus);
    for (size_t at = 0; at < text.size();) {
      const size_t behind = at == 0 ? 0 : 1;
      const Exact window(text.substr(at - behind, region + behind));
      size_t stop = window.size;
      if (at + region < text.size()) stop = accel::cut_between_words(corpus, window.bytes.get(), window.size, behind);
      require(stop > behind && stop <= window.size, "a cut outside its region");
      const Exact cut(text.substr(at - behind, stop));
      count += accel::replace_words(corpus, cut.bytes.get(), cut.size, behind, output);
      append(replaced);
      std::vector<uint64_t> array = counts.take();
      accel::replace_words(corpus, cut.bytes.get(), cut.size, behind, output, array.data());
      append(counted);
      counts.give(std::move(array));
      accel::find_words(corpus, cut.bytes.get(), cut.size, behind, at, output);
      append(found);
      at += stop - behind;
    }
    require(replaced == expected.replaced && counted == expected.replaced, "a wrong replacement");
    require(found == expected.found, "a wrong list");
    const auto result = counts.most_frequent(~size_t{0});
    for (const auto& [word, number] : result.words) total += number;
    require(std::map<std::string, uint64_t>(result.words.begin(), result.words.end()) == expected.counts, "wrong counts");
    require(count == total && result.distinct == expected.counts.size(), "a wrong number of words");
  }

  static void check_edges(const std::string& text) {
    const Exact exact(text);
    for (const bool before : {false, true}) {
      std::vector<uint32_t> quick(text.size() + accel::kEdgeSlack), plain(quick);
      bool quick_inside = before, plain_inside = before;
      quick.resize(static_cast<size_t>(
          accel::edges_path().find(exact.bytes.get(), exact.size, 7, quick_inside, quick.data()) - quick.data()));
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
  FuzzRun run(count, arguments);
  Fuzzer fuzzer(run.seed());
  while (run.next_round()) {
    fuzzer.round();
    fuzzer.round_of_malformed_files();
  }
  std::printf("fuzz_replace: seed %llu, %llu rounds, %llu malformed corpora refused\n",
              run.seed(), run.rounds(),
              static_cast<unsigned long long>(fuzzer.refused()));
}
