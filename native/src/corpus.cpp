// Parsing a corpus file and compiling it to tables.
#include "accel/corpus.hpp"

#include <algorithm>

#include "accel/word_edges.hpp"

namespace accel {
namespace {

constexpr uint64_t kLongestWord = 64u << 10;
constexpr uint64_t kLongestReplacement = 4u << 20;
constexpr size_t kNoSlot = ~size_t{0};
constexpr uint32_t kNoRoot = ~0u;  // parent of the words that can never match

uint64_t load_part(const uint8_t* from, size_t size) {
  uint64_t part = 0;
  std::memcpy(&part, from, size);
  return part;
}

std::string text_of(const uint8_t* bytes, size_t size) {
  return std::string(reinterpret_cast<const char*>(bytes), std::min<size_t>(size, 80));
}

// One line of the file without its end (LF, CRLF, or the end of the file).
struct Line {
  const uint8_t* begin;
  const uint8_t* end;
  const uint8_t* comma;  // nullptr: none

  static Line at(const uint8_t*& cursor, const uint8_t* file_end) {
    const auto rest = static_cast<size_t>(file_end - cursor);
    const auto* feed = static_cast<const uint8_t*>(std::memchr(cursor, '\n', rest));
    Line line{cursor, feed ? feed : file_end, nullptr};
    cursor = feed ? feed + 1 : file_end;
    if (line.end != line.begin && line.end[-1] == '\r') --line.end;
    line.comma = line.size() ? static_cast<const uint8_t*>(std::memchr(line.begin, ',', line.size())) : nullptr;
    return line;
  }
  size_t size() const { return static_cast<size_t>(end - begin); }
};

}  // namespace

Corpus::Corpus(const uint8_t* file, size_t size, bool ignores_case) : ignores_case_(ignores_case) {
  static constexpr uint8_t kByteOrderMark[] = {0xEF, 0xBB, 0xBF};
  if (size >= 3 && std::memcmp(file, kByteOrderMark, 3) == 0) {
    file += 3;
    size -= 3;
  }
  if (size == 0) throw CorpusError(0, "", "the corpus is empty; give at least one line word,replacement");
  file_.assign(file, file + size);
  build_table();
  nodes_.emplace_back();  // id 0 means "none"
  parse();
  if (nodes_.size() == 1 && edge_count_ == 0) {
    std::vector<uint8_t>().swap(file_);  // all is in the table
  }
  facts_.table_bytes = file_.capacity() + table_.memory_bytes() + values_.capacity() * sizeof(Value) +
                       edges_.capacity() * sizeof(Edge) + nodes_.capacity() * sizeof(Node) +
                       spellings_.capacity() * sizeof(Key);
}

// The keys of all words' first tokens get their slots before any word is added.
void Corpus::build_table() {
  std::vector<Key> keys;
  const uint8_t* cursor = file_.data();
  const uint8_t* const end = cursor + file_.size();
  while (cursor != end) {
    const Line line = Line::at(cursor, end);
    // A key without a matchable word would be found in a text and have nothing to say.
    if (!line.comma || line.comma == line.begin || !is_word(line.comma[-1])) continue;
    const auto size = static_cast<size_t>(skip_word(line.begin, line.comma) - line.begin);
    if (size != 0 && size <= kLongestKey) keys.push_back(key(line.begin, size));
  }
  table_.build(keys);
  values_.resize(table_.size());
  for (Value& value : values_) value.size = kElsewhere;
  if (ignores_case_) spellings_.resize(table_.size());
}

void Corpus::parse() {
  const uint8_t* cursor = file_.data();
  const uint8_t* const end = cursor + file_.size();
  for (size_t number = 1; cursor != end; ++number) {
    const Line line = Line::at(cursor, end);
    if (!line.comma) throw CorpusError(number, text_of(line.begin, line.size()), "no comma; write word,replacement");
    const auto word_size = static_cast<size_t>(line.comma - line.begin);
    const auto text_size = static_cast<size_t>(line.end - line.comma - 1);
    if (word_size == 0) throw CorpusError(number, text_of(line.begin, line.size()), "the word before the comma is empty");
    if (word_size > kLongestWord || text_size > kLongestReplacement) {
      throw CorpusError(number, text_of(line.begin, line.size()), "a word longer than 64 KiB, or a replacement than 4 MiB");
    }
    add(number, line.begin, word_size, line.comma + 1, text_size);
  }
}

void Corpus::add(size_t line, const uint8_t* word, size_t size, const uint8_t* text, size_t text_size) {
  ++facts_.words;
  if (!is_word(word[0]) || !is_word(word[size - 1])) return add_unmatchable(line, word, size);
  facts_.longest_word = std::max<uint64_t>(facts_.longest_word, size);
  // Between two words stands at least one byte.
  facts_.growth = std::max<uint64_t>(facts_.growth, (text_size + size) / (size + 1) + 1);
  const uint8_t* const end = word + size;
  const uint8_t* cursor = skip_word(word, end);
  if (cursor == end && size <= kLongestKey) return add_short(line, word, size, text, text_size);
  uint32_t node = root(word, static_cast<size_t>(cursor - word));
  while (cursor != end) {
    const uint8_t* const segment = cursor;
    cursor = skip_gap(cursor, end);
    for (const uint8_t* gap = segment; gap != cursor; ++gap) joins_[*gap] = true;
    cursor = skip_word(cursor, end);
    node = child(node, segment, static_cast<size_t>(cursor - segment));
  }
  end_word(node, line, word, size, text, text_size);
}

void Corpus::add_unmatchable(size_t line, const uint8_t* word, size_t size) {
  if (facts_.unmatchable_words++ == 0) facts_.first_unmatchable_line = line;
  if (find_edge(kNoRoot, word, size)) refuse_duplicate(line, word, size);
  add_edge({hash_segment(kNoRoot, word, size), static_cast<uint64_t>(word - file_.data()),
            static_cast<uint32_t>(size), kNoRoot, ~0u});
}

void Corpus::add_short(size_t line, const uint8_t* word, size_t size, const uint8_t* text, size_t text_size) {
  const size_t slot = table_.hash()(key(word, size));
  Value& value = values_[slot];
  if (value.node == 0 && value.size != kElsewhere) refuse_duplicate(line, word, size);
  // A duplicate of a word that has a node is refused by `end_word`.
  if (ignores_case_ && spellings_[slot].low == 0) spellings_[slot] = key_of(word, size);
  if (value.node == 0 && text_size <= kInline) {
    std::memcpy(value.text, text, text_size);
    value.size = static_cast<uint32_t>(text_size);
    return;
  }
  if (value.node == 0) value.node = new_node();
  end_word(value.node, line, word, size, text, text_size);
}

void Corpus::end_word(uint32_t id, size_t line, const uint8_t* word, size_t size, const uint8_t* text,
                      size_t text_size) {
  Node& node = nodes_[id];
  if (node.terminal) refuse_duplicate(line, word, size);
  node.terminal = true;
  node.text = text;
  node.size = static_cast<uint32_t>(text_size);
}

// The node of a first token, made when there is none.
uint32_t Corpus::root(const uint8_t* token, size_t size) {
  if (size > kLongestKey) {
    has_long_tokens_ = true;
    return child(0, token, size);
  }
  Value& value = values_[table_.hash()(key(token, size))];
  if (value.node) return value.node;
  value.node = new_node();
  if (value.size != kElsewhere) {
    // So far a plain word: its replacement stays where it is, and `find` now comes to it by the node.
    nodes_[value.node].terminal = true;
    nodes_[value.node].text = value.text;
    nodes_[value.node].size = value.size;
    value.size = kElsewhere;
  }
  return value.node;
}

uint32_t Corpus::child(uint32_t parent, const uint8_t* segment, size_t size) {
  if (const uint32_t known = find_edge(parent, segment, size)) return known;
  if (parent) {
    nodes_[parent].parent = true;
    longest_segment_ = std::max(longest_segment_, size);
  }
  const uint32_t node = new_node();
  add_edge({hash_segment(parent, segment, size), static_cast<uint64_t>(segment - file_.data()),
            static_cast<uint32_t>(size), parent, node});
  return node;
}

uint32_t Corpus::new_node() {
  if (nodes_.size() >= kNoRoot) throw CorpusError(0, "", "the corpus has more than 4 billion distinct segments");
  nodes_.emplace_back();
  return static_cast<uint32_t>(nodes_.size() - 1);
}

uint64_t Corpus::hash_segment(uint32_t parent, const uint8_t* text, size_t size) const {
  uint64_t state = fold(parent, size);
  for (; size >= 8; text += 8, size -= 8) {
    const uint64_t part = load_part(text, 8);
    state = fold(state ^ (ignores_case_ ? lower_case(part) : part), state);
  }
  const uint64_t part = load_part(text, size);
  return fold(state ^ (ignores_case_ ? lower_case(part) : part), state);
}

bool Corpus::equal(const uint8_t* a, const uint8_t* b, size_t size) const {
  if (!ignores_case_) return std::memcmp(a, b, size) == 0;
  for (; size >= 8; a += 8, b += 8, size -= 8) {
    if (lower_case(load_part(a, 8)) != lower_case(load_part(b, 8))) return false;
  }
  return lower_case(load_part(a, size)) == lower_case(load_part(b, size));
}

Key Corpus::key(const uint8_t* token, size_t size) const {
  Key key = key_of(token, size);
  if (!ignores_case_) return key;
  const size_t low = std::min<size_t>(size, 8), high = size - low;
  key.low |= kLowerCase >> (64 - 8 * low);
  if (high) key.high |= kLowerCase >> (64 - 8 * high);
  return key;
}

std::string Corpus::word(size_t id) const {
  if (id < table_.size()) {
    const Key& key = ignores_case_ ? spellings_[id] : table_.keys()[id];
    const auto* const bytes = reinterpret_cast<const char*>(&key);
    return std::string(bytes, static_cast<size_t>(std::find(bytes, bytes + kLongestKey, '\0') - bytes));
  }
  // A line reads word,replacement: the word stands before its replacement.
  const uint8_t* const comma = nodes_[id - table_.size()].text - 1;
  const uint8_t* begin = comma;
  while (begin != file_.data() && begin[-1] != '\n') --begin;
  return std::string(reinterpret_cast<const char*>(begin), static_cast<size_t>(comma - begin));
}

uint32_t Corpus::find_edge(uint32_t parent, const uint8_t* segment, size_t size) const {
  if (edges_.empty()) return 0;
  const uint64_t wanted = hash_segment(parent, segment, size);
  const size_t mask = edges_.size() - 1;
  for (size_t slot = wanted & mask; edges_[slot].node != 0; slot = (slot + 1) & mask) {
    const Edge& edge = edges_[slot];
    if (edge.hash == wanted && edge.parent == parent && edge.size == size &&
        equal(file_.data() + edge.text, segment, size)) {
      return edge.node;
    }
  }
  return 0;
}

void Corpus::add_edge(Edge edge) {
  if ((edge_count_ + 1) * 2 > edges_.size()) {
    std::vector<Edge> old(std::max<size_t>(64, edges_.size() * 2));
    old.swap(edges_);
    edge_count_ = 0;
    for (const Edge& known : old) {
      if (known.node != 0) add_edge(known);
    }
  }
  const size_t mask = edges_.size() - 1;
  size_t slot = edge.hash & mask;
  while (edges_[slot].node != 0) slot = (slot + 1) & mask;
  edges_[slot] = edge;
  ++edge_count_;
}

void Corpus::refuse_duplicate(size_t line, const uint8_t* word, size_t size) const {
  const uint8_t* cursor = file_.data();
  size_t first = 1;
  for (; first < line; ++first) {
    const Line known = Line::at(cursor, file_.data() + file_.size());
    if (known.comma && static_cast<size_t>(known.comma - known.begin) == size &&
        equal(known.begin, word, size)) {
      break;
    }
  }
  throw CorpusError(line, text_of(word, size),
                    "duplicate word, first on line " + std::to_string(first) + (ignores_case_ ? ", as case is ignored" : ""));
}

Match Corpus::find(const uint8_t* token, size_t size, const uint8_t* end) const {
  uint32_t id = 0;
  size_t slot = kNoSlot;  // a word of one short token goes by its slot, any other by its node
  if (size <= kLongestKey) {
    const Key wanted = key(token, size);
    slot = table_.hash()(wanted);
    if (!(table_.keys()[slot] == wanted)) return {};
    const Value& value = values_[slot];
    if (value.node == 0) return {token + size, value.text, value.size, slot};
    id = value.node;
  } else if (has_long_tokens_) {
    id = find_edge(0, token, size);
  }
  Match longest;
  const uint8_t* cursor = token + size;
  while (id != 0) {
    const Node& node = nodes_[id];
    if (node.terminal) longest = {cursor, node.text, node.size, slot != kNoSlot ? slot : table_.size() + id};
    slot = kNoSlot;
    if (!node.parent) break;
    const uint8_t* const segment = cursor;
    // No segment is longer than the longest known: look no further, or blank texts would cost their square.
    const uint8_t* const limit =
        static_cast<size_t>(end - segment) > longest_segment_ ? segment + longest_segment_ + 1 : end;
    cursor = skip_word(skip_gap(segment, limit), limit);
    if (static_cast<size_t>(cursor - segment) > longest_segment_) break;
    id = find_edge(id, segment, static_cast<size_t>(cursor - segment));
  }
  return longest;
}

}  // namespace accel
