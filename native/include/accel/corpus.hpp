// A corpus of words and their replacements, compiled for lookup. It does not scan texts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "accel/word_table.hpp"

namespace accel {

// A line of the corpus file that cannot be used.
struct CorpusError : std::runtime_error {
  CorpusError(size_t line_number, std::string line_text, const std::string& reason)
      : std::runtime_error(reason), line(line_number), text(std::move(line_text)) {}
  size_t line;       // from 1; 0: the file as a whole
  std::string text;  // the word or line meant
};

// What a corpus word found in a text turns into.
struct Match {
  const uint8_t* end = nullptr;   // where the word ends in the text; nullptr: no corpus word here
  const uint8_t* text = nullptr;  // the replacement
  size_t size = 0;
  size_t id = 0;  // of the corpus word, below `word_ids()`
};

struct CorpusFacts {
  uint64_t words = 0;
  uint64_t unmatchable_words = 0;  // first or last byte is no word character
  uint64_t first_unmatchable_line = 0;
  uint64_t longest_word = 0;
  uint64_t growth = 1;  // bytes of output for a byte of a text that holds nothing but the word that grows most
  uint64_t table_bytes = 0;
};

// The tables. A token (a run of word characters) of up to 16 bytes is its own key in a perfect hash table; longer
// ones, and the further segments of compound words ("new york", "don't"), are edges of a trie whose every edge is one
// whole segment, kept in a second hash table. Immutable once made: any number of threads may look up.
class Corpus {
 public:
  // Parses `file`: lines "word,replacement". Throws CorpusError. `ignores_case`: of ASCII letters, in words.
  Corpus(const uint8_t* file, size_t size, bool ignores_case = false);
  Corpus(const Corpus&) = delete;
  Corpus& operator=(const Corpus&) = delete;

  const CorpusFacts& facts() const { return facts_; }

  bool ignores_case() const { return ignores_case_; }

  // Every word has an id below this; not every id is a word's.
  size_t word_ids() const { return table_.size() + nodes_.size(); }

  // The word of an id that `find` or the inner loop met, as the corpus writes it.
  std::string word(size_t id) const;

  // Whether the byte is no word character and stands inside a word of the corpus.
  bool joins(uint8_t c) const { return joins_[c]; }

  // The longest corpus word that begins with the token [token, token + size) and lies before `end`.
  Match find(const uint8_t* token, size_t size, const uint8_t* end) const;

  // The inner loop's view: what stands in the slots of the first table.
  static constexpr size_t kInline = 24;        // longest replacement that stands there
  static constexpr uint32_t kElsewhere = ~0u;  // the size of an entry that only `find` can resolve
  struct alignas(32) Value {
    uint8_t text[kInline];
    uint32_t size;
    uint32_t node;
  };
  const WordTable& table() const { return table_; }
  const Value* values() const { return values_.data(); }
  bool has_long_tokens() const { return has_long_tokens_; }

 private:
  struct Node {
    const uint8_t* text = nullptr;  // the replacement, in file_ or values_, which do not move once filled
    uint32_t size = 0;
    bool terminal = false;  // a corpus word ends here
    bool parent = false;    // longer corpus words begin like this
  };
  struct Edge {
    uint64_t hash = 0;
    uint64_t text = 0;  // the segment, in file_
    uint32_t size = 0;
    uint32_t parent = 0;
    uint32_t node = 0;  // 0: free
  };

  static uint64_t fold(uint64_t low, uint64_t high) {
    // Folded 128-bit product, as in Wang Yi's wyhash.
    __extension__ using Wide = unsigned __int128;
    const Wide product = static_cast<Wide>(low ^ 0x9E3779B97F4A7C15ull) * (high ^ 0xD6E8FEB86659FD93ull);
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  }
  uint64_t hash_segment(uint32_t parent, const uint8_t* text, size_t size) const;
  bool equal(const uint8_t* a, const uint8_t* b, size_t size) const;
  Key key(const uint8_t* token, size_t size) const;

  void build_table();
  void parse();
  void add(size_t line, const uint8_t* word, size_t word_size, const uint8_t* text, size_t text_size);
  void add_unmatchable(size_t line, const uint8_t* word, size_t size);
  void add_short(size_t line, const uint8_t* word, size_t size, const uint8_t* text, size_t text_size);
  void end_word(uint32_t node, size_t line, const uint8_t* word, size_t size, const uint8_t* text, size_t text_size);
  uint32_t root(const uint8_t* token, size_t size);
  uint32_t child(uint32_t parent, const uint8_t* segment, size_t size);
  uint32_t new_node();
  uint32_t find_edge(uint32_t parent, const uint8_t* segment, size_t size) const;
  void add_edge(Edge edge);
  [[noreturn]] void refuse_duplicate(size_t line, const uint8_t* word, size_t size) const;

  const bool ignores_case_;
  std::vector<uint8_t> file_;
  WordTable table_;
  Table<Value> values_;
  std::vector<Key> spellings_;  // per slot, the word as the file writes it; empty unless case is ignored
  std::vector<Edge> edges_;
  size_t edge_count_ = 0;
  std::vector<Node> nodes_;
  size_t longest_segment_ = 0;  // of the edges below a root
  bool has_long_tokens_ = false;
  bool joins_[256] = {};
  CorpusFacts facts_;
};

}  // namespace accel
