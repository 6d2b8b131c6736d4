// The replacing loops. Per token no branch is taken that depends on whether the token is a corpus word: in real text
// that is a coin's throw, and a mispredicted branch costs more than all the rest of the work on a token. One loop lists
// the words found, another writes the output: two short chains of work, of which the processor has more under way at
// once than of one long one.
#include "accel/replace.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <utility>

#include "accel/cpu.hpp"
#include "accel/word_edges.hpp"

namespace accel {
namespace {

constexpr size_t kChunk = 4096;  // text whose word edges are listed at once: list and text stay in the L1 cache
constexpr size_t kCopied = 32;    // bytes copied at once
// What the loops may read behind a token's start, and write behind the output's end.
constexpr size_t kOvershoot = 2 * kCopied;

// Per size of a token, which of its first 16 bytes are its key. A token too long to be its own key gets one that no
// token has: nothing in `low`.
struct KeyMasks {
  uint64_t low[kLongestKey + 2], high[kLongestKey + 2];
  constexpr KeyMasks() : low(), high() {
    for (size_t size = 0; size <= kLongestKey + 1; ++size) {
      low[size] = size > kLongestKey ? 0 : size >= 8 ? ~0ull : (1ull << (8 * size)) - 1;
      high[size] = size <= 8 ? 0 : size >= kLongestKey ? ~0ull : (1ull << (8 * (size - 8))) - 1;
    }
  }
};
constexpr KeyMasks kKeyMasks;

inline uint64_t load64(const uint8_t* from) {
  uint64_t value;
  std::memcpy(&value, from, 8);
  return value;
}

// 32 bytes as one vector where the CPU has it, else as two or four.
using Bytes32 __attribute__((vector_size(32), aligned(1), may_alias)) = uint8_t;

__attribute__((always_inline)) inline void copy32(uint8_t* to, const uint8_t* from) {
  *reinterpret_cast<Bytes32*>(to) = *reinterpret_cast<const Bytes32*>(from);
}

// Where the writing is: the text before `done` is dealt with, and `out` is where more goes.
struct Progress {
  const uint8_t* done;
  uint8_t* out;
};

// What the finding loop does: a set of these. One loop is compiled for each, so that none pays for another's work.
constexpr unsigned kFolds = 1;       // the corpus ignores case
constexpr unsigned kLooksAhead = 2;  // the table is beyond the cache: its slots are asked for in time
constexpr unsigned kWays = 4;

// A token that may be, or begin, a corpus word: the first of its edges, and its slot in the table.
struct Hit {
  uint32_t edge, slot;
};

// The tokens of one chunk, and room for what the loops find about each.
struct Tokens {
  const uint8_t* text;
  uint32_t edges[kChunk + 1 + kEdgeSlack];  // they begin at edges[0], edges[2] ... and end at edges[1], edges[3] ...
  uint32_t slots[kChunk / 2 + 1];           // one a token
  Hit hits[kChunk / 2 + 1];
  size_t hit_count;

  const uint8_t* begin(const Hit& hit) const { return text + edges[hit.edge]; }
  size_t size(const Hit& hit) const { return edges[hit.edge + 1] - edges[hit.edge]; }
};

template <unsigned kWay>
__attribute__((always_inline)) inline Key key_at(const uint8_t* token, size_t size) {
  constexpr uint64_t kFold = kWay & kFolds ? kLowerCase : 0;
  size = std::min(size, kLongestKey + 1);
  return {(load64(token) | kFold) & kKeyMasks.low[size], (load64(token + 8) | kFold) & kKeyMasks.high[size]};
}

// Longer tokens go by other tables.
size_t longest_here(const Corpus& corpus) { return corpus.has_long_tokens() ? kLongestKey : ~size_t{0}; }

// Lists the hits among the tokens up to edges[count].
template <unsigned kWay>
__attribute__((always_inline)) inline void list_hits(const Corpus& corpus, Tokens& tokens, size_t count) {
  const uint8_t* const text = tokens.text;
  const uint32_t* const edges = tokens.edges;
  const Key* const keys = corpus.table().keys();
  const WordTable::Hash hash = corpus.table().hash();
  const size_t longest = longest_here(corpus);
  if constexpr ((kWay & kLooksAhead) != 0) {
    for (size_t i = 0; i < count; i += 2) {
      const size_t slot = hash(key_at<kWay>(text + edges[i], edges[i + 1] - edges[i]));
      __builtin_prefetch(keys + slot);
      tokens.slots[i / 2] = static_cast<uint32_t>(slot);
    }
  }
  Hit* hit = tokens.hits;
  for (size_t i = 0; i < count; i += 2) {
    const size_t size = edges[i + 1] - edges[i];
    const Key key = key_at<kWay>(text + edges[i], size);
    const size_t slot = kWay & kLooksAhead ? tokens.slots[i / 2] : hash(key);
    const uint64_t differs = (key.low ^ keys[slot].low) | (key.high ^ keys[slot].high);
    *hit = {static_cast<uint32_t>(i), static_cast<uint32_t>(slot)};
    hit += static_cast<unsigned>(differs == 0) | static_cast<unsigned>(size > longest);
  }
  tokens.hit_count = static_cast<size_t>(hit - tokens.hits);
}

// Writes the text with its words replaced, from hit `h` on; returns the first hit that it leaves to a more careful
// hand. Everything it uses is in locals: a store through `out` could else change a member.
__attribute__((always_inline)) inline size_t write_hits(const Corpus& corpus, const Tokens& tokens, size_t h,
                                                        Progress& progress) {
  const Corpus::Value* const values = corpus.values();
  const size_t count = tokens.hit_count, longest = longest_here(corpus);
  const uint8_t* done = progress.done;
  uint8_t* out = progress.out;
  for (; h < count; ++h) {
    const Hit hit = tokens.hits[h];
    const uint8_t* const token = tokens.begin(hit);
    const size_t size = tokens.size(hit);
    const Corpus::Value* const value = values + hit.slot;
    if (__builtin_expect((token < done) | (size > longest) | (value->size > Corpus::kInline), 0)) break;
    const auto gap = static_cast<size_t>(token - done);
    copy32(out, done);
    copy32(out + kCopied, done + kCopied);
    if (__builtin_expect(gap > kOvershoot, 0)) std::memcpy(out + kOvershoot, done + kOvershoot, gap - kOvershoot);
    out += gap;
    copy32(out, value->text);
    out += value->size;
    done = token + size;
  }
  progress = {done, out};
  return h;
}

struct Loops {
  void (*list)(const Corpus&, Tokens&, size_t);
  size_t (*write)(const Corpus&, const Tokens&, size_t, Progress&);
};

template <unsigned kWay>
void list_portable(const Corpus& corpus, Tokens& tokens, size_t count) {
  list_hits<kWay>(corpus, tokens, count);
}
size_t write_portable(const Corpus& corpus, const Tokens& tokens, size_t h, Progress& progress) {
  return write_hits(corpus, tokens, h, progress);
}
template <size_t... kWay>
constexpr std::array<Loops, kWays> portable_loops(std::index_sequence<kWay...>) {
  return {{{list_portable<kWay>, write_portable}...}};
}

#if defined(__x86_64__)
template <unsigned kWay>
__attribute__((target("avx2,bmi,bmi2"))) void list_avx2(const Corpus& corpus, Tokens& tokens, size_t count) {
  list_hits<kWay>(corpus, tokens, count);
}
__attribute__((target("avx2,bmi,bmi2"))) size_t write_avx2(const Corpus& corpus, const Tokens& tokens, size_t h,
                                                           Progress& progress) {
  return write_hits(corpus, tokens, h, progress);
}
template <size_t... kWay>
constexpr std::array<Loops, kWays> avx2_loops(std::index_sequence<kWay...>) {
  return {{{list_avx2<kWay>, write_avx2}...}};
}
#endif

// The loops for a way, the quickest that this CPU runs.
const Loops& best_loops(unsigned way) {
  static constexpr auto portable = portable_loops(std::make_index_sequence<kWays>());
#if defined(__x86_64__)
  static constexpr auto avx2 = avx2_loops(std::make_index_sequence<kWays>());
  if (cpu_level() >= Cpu::avx2) return avx2[way];
#endif
  return portable[way];
}

// Below this size of table the caches answer quickly enough.
constexpr size_t kLargeTable = size_t{1} << 20;

// Takes the words found: counts them, lists them, or both.
class Observer {
 public:
  // `offset`: what a place in the text has to be added to, modulo 2^64.
  Observer(const uint8_t* text, uint64_t offset, Buffer* lines, uint64_t* counts)
      : text_(text), offset_(offset), lines_(lines), counts_(counts) {}

  void saw(const uint8_t* at, size_t size, size_t id) {
    if (counts_) ++counts_[id];
    if (lines_) list(at, size);
  }

 private:
  static constexpr size_t kDigits = 20;

  void list(const uint8_t* at, size_t size) {
    const size_t needed = lines_->size + kDigits + 2 + size;
    if (needed > lines_->capacity()) lines_->reserve(needed + lines_->capacity() / 2 + kChunk);
    auto* const line = reinterpret_cast<char*>(lines_->data() + lines_->size);
    char* end = std::to_chars(line, line + kDigits, offset_ + static_cast<uint64_t>(at - text_)).ptr;
    *end++ = ':';
    std::memcpy(end, at, size);
    end[size] = '\n';
    lines_->size += static_cast<size_t>(end + size + 1 - line);
  }

  const uint8_t* const text_;
  const uint64_t offset_;
  Buffer* const lines_;    // nullptr: not wanted
  uint64_t* const counts_;
};

// Goes over a region once. What it writes, if anything, is the text with its words replaced; each word found is told
// to the observer, if there is one.
class Scanner {
 public:
  Scanner(const Corpus& corpus, const uint8_t* text, size_t size, size_t start, Buffer* output, Observer* observer)
      : corpus_(corpus),
        text_(text),
        end_(text + size),
        done_(text + start),
        output_(output),
        observer_(observer),
        loops_(best_loops((corpus.ignores_case() ? kFolds : 0) |
                          (corpus.table().size() * sizeof(Key) >= kLargeTable ? kLooksAhead : 0))) {
    tokens_.text = text;
    if (!output_) return;
    output_->reserve((size - start) * 2 + kOvershoot);
    out_ = output_->data();
  }

  // How many words it found.
  uint64_t run() {
    static const FindEdges find_edges_here = edges_path().find;
    uint32_t* const edges = tokens_.edges;
    const uint8_t* cursor = done_;
    // Begun inside a word: its rest is no word of its own.
    if (cursor != text_ && is_word(cursor[-1])) cursor = skip_word(cursor, end_);
    bool inside = false;
    size_t kept = 0;  // 1 when the chunk before ended in a word, whose beginning is then edges[0]
    while (cursor != end_) {
      const size_t size = std::min<size_t>(kChunk, static_cast<size_t>(end_ - cursor));
      const auto base = static_cast<uint32_t>(cursor - text_);
      uint32_t* edge_end = find_edges_here(cursor, size, base, inside, edges + kept);
      cursor += size;
      if (cursor == end_ && inside) {
        *edge_end++ = base + static_cast<uint32_t>(size);
        inside = false;
      }
      const auto count = static_cast<size_t>(edge_end - edges);
      scan_tokens(count & ~size_t{1});
      kept = count & 1;
      edges[0] = kept ? edge_end[-1] : 0;
    }
    if (output_) finish();
    return found_;
  }

 private:
  void finish() {
    const auto rest = static_cast<size_t>(end_ - done_);
    make_room(rest);
    if (rest) std::memcpy(out_, done_, rest);
    output_->size = static_cast<size_t>(out_ + rest - output_->data());
  }

  // Room for `size` more bytes and the overshoot.
  void make_room(size_t size) {
    const auto used = static_cast<size_t>(out_ - output_->data());
    if (output_->capacity() - used >= size + kOvershoot) return;
    output_->reserve(used + size + kOvershoot + output_->capacity() / 2);
    out_ = output_->data() + used;
  }

  // Room for the text up to `end`, `tokens` of its tokens replaced by the longest texts of the table.
  void make_room_to(const uint8_t* end, size_t tokens) {
    if (output_) make_room((end > done_ ? static_cast<size_t>(end - done_) : 0) + tokens * Corpus::kInline);
  }

  // The tokens of the chunk up to edges[count]; `count` is even.
  void scan_tokens(size_t count) {
    if (count == 0) return;
    const uint32_t* const edges = tokens_.edges;
    const uint8_t* const last = text_ + edges[count - 1];
    make_room_to(last, count / 2);
    // The loops read beyond a token: the tokens at the very end are left to the careful hand.
    size_t quick = count;
    while (quick != 0 && static_cast<size_t>(end_ - text_) - edges[quick - 2] < kOvershoot) quick -= 2;
    loops_.list(corpus_, tokens_, quick);
    take_hits(last, count);
    for (size_t i = quick; i < count; i += 2) scan_carefully(i);
  }

  void take_hits(const uint8_t* last, size_t count) {
    for (size_t h = 0; h < tokens_.hit_count; ++h) {
      const size_t first = h;
      h = output_ ? write_hits(h) : pass_hits(h);
      for (size_t seen = first; observer_ && seen < h; ++seen) {
        const Hit& hit = tokens_.hits[seen];
        observer_->saw(tokens_.begin(hit), tokens_.size(hit), hit.slot);
      }
      found_ += h - first;
      if (h == tokens_.hit_count) break;
      scan_carefully(tokens_.hits[h].edge);
      make_room_to(last, (count - tokens_.hits[h].edge) / 2);
    }
  }

  size_t write_hits(size_t h) {
    Progress progress{done_, out_};
    h = loops_.write(corpus_, tokens_, h, progress);
    done_ = progress.done;
    out_ = progress.out;
    return h;
  }

  // As `write_hits`, without an output.
  size_t pass_hits(size_t h) {
    const size_t longest = longest_here(corpus_);
    for (; h < tokens_.hit_count; ++h) {
      const Hit& hit = tokens_.hits[h];
      if (tokens_.begin(hit) < done_ || tokens_.size(hit) > longest ||
          corpus_.values()[hit.slot].size > Corpus::kInline) {
        break;
      }
      done_ = tokens_.begin(hit) + tokens_.size(hit);
    }
    return h;
  }

  // The token that begins at edges[i], unless it is inside a compound word already found.
  void scan_carefully(size_t i) {
    const uint8_t* const token = text_ + tokens_.edges[i];
    const size_t size = tokens_.edges[i + 1] - tokens_.edges[i];
    if (token < done_) return;
    const Match match = corpus_.find(token, size, end_);
    const uint8_t* const next = match.end ? match.end : token + size;
    if (output_) {
      const auto verbatim = static_cast<size_t>((match.end ? token : next) - done_);
      make_room(verbatim + match.size);
      if (verbatim) std::memcpy(out_, done_, verbatim);
      if (match.size) std::memcpy(out_ + verbatim, match.text, match.size);
      out_ += verbatim + match.size;
    }
    if (observer_ && match.end) observer_->saw(token, static_cast<size_t>(match.end - token), match.id);
    done_ = next;
    found_ += match.end != nullptr;
  }

  const Corpus& corpus_;
  const uint8_t* const text_;
  const uint8_t* const end_;
  const uint8_t* done_;     // the text before it is dealt with
  Buffer* const output_;    // nullptr: none is made
  Observer* const observer_;
  const Loops& loops_;
  uint8_t* out_ = nullptr;
  uint64_t found_ = 0;
  Tokens tokens_;
};

// A place that no corpus word spans, found by looking for words from the region's start: for texts without any byte
// that stands in no corpus word.
size_t cut_by_matching(const Corpus& corpus, const uint8_t* text, const uint8_t* end, const uint8_t* cursor) {
  const size_t longest = corpus.facts().longest_word;
  if (cursor != text && is_word(cursor[-1])) cursor = skip_word(cursor, end);
  while (true) {
    const uint8_t* const token = skip_gap(cursor, end);
    // What is found near the end could be longer in the whole text.
    if (static_cast<size_t>(end - token) <= longest) return static_cast<size_t>(token - text);
    const uint8_t* const token_end = skip_word(token, end);
    const Match match = corpus.find(token, static_cast<size_t>(token_end - token), end);
    cursor = match.end ? match.end : token_end;
  }
}

}  // namespace

uint64_t replace_words(const Corpus& corpus, const uint8_t* text, size_t size, size_t start, Buffer& output,
                       uint64_t* counts) {
  Observer observer(text, 0, nullptr, counts);
  return Scanner(corpus, text, size, start, &output, counts ? &observer : nullptr).run();
}

uint64_t find_words(const Corpus& corpus, const uint8_t* text, size_t size, size_t start, uint64_t offset,
                    Buffer& lines, uint64_t* counts) {
  lines.size = 0;
  Observer observer(text, offset - start, &lines, counts);
  return Scanner(corpus, text, size, start, nullptr, &observer).run();
}

size_t cut_between_words(const Corpus& corpus, const uint8_t* text, size_t size, size_t start) {
  const size_t half = start + (size - start) / 2;
  size_t run = size;
  while (run > start && is_word(text[run - 1])) --run;
  // Longer than any corpus word: no match reaches into it, and the next region sees that it begins inside a word.
  if (size - run > corpus.facts().longest_word) return size;
  for (size_t i = run; i > half; --i) {
    if (!is_word(text[i - 1]) && !corpus.joins(text[i - 1])) return i;
  }
  return cut_by_matching(corpus, text, text + size, text + start);
}

const char* replacing_path() { return cpu_level() >= Cpu::avx2 ? "avx2" : "portable"; }

}  // namespace accel
