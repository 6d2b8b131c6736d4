// The replacing loop. Per token it takes no branch that depends on whether the token is a corpus word: in real
// text that is a coin's throw, and a mispredicted branch costs more than all the rest of the work on a token.
#include "accel/replace.hpp"

#include <algorithm>
#include <cstring>

#include "accel/cpu.hpp"
#include "accel/word_edges.hpp"

namespace accel {
namespace {

constexpr size_t kChunk = 4096;  // text whose word edges are listed at once: list and text stay in the L1 cache
constexpr size_t kOvershoot = 32;  // bytes the loop may read after a token's start, and write after the output's end

// Per size of a token, which of its first 16 bytes are its key. A token too long to be its own key gets one that no
// token has: nothing in `low`.
struct KeyMasks {
  uint64_t low[kOvershoot + 1], high[kOvershoot + 1];
  constexpr KeyMasks() : low(), high() {
    for (size_t size = 0; size <= kOvershoot; ++size) {
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

// `yes` when `mask` is all ones, `no` when it is zero, without a branch.
__attribute__((always_inline)) inline const uint8_t* select(uint64_t mask, const uint8_t* yes, const uint8_t* no) {
  const auto a = reinterpret_cast<uintptr_t>(yes), b = reinterpret_cast<uintptr_t>(no);
  return reinterpret_cast<const uint8_t*>(b + ((a - b) & mask));
}

// Where the loop is: the text before `done` is written, and `out` is where more goes.
struct Progress {
  const uint8_t* done;
  uint8_t* out;
  uint64_t replaced;
};

// Replaces tokens [edges[i], edges[i + 1]), ... from i on, up to `count`; returns the index of the first that it
// leaves to a more careful hand. Everything it uses is in locals: a store through `out` could else change a member.
__attribute__((always_inline)) inline size_t replace_quickly(const Corpus& corpus, const uint8_t* text,
                                                             const uint32_t* edges, size_t i, size_t count,
                                                             Progress& progress) {
  const Key* const keys = corpus.table().keys();
  const WordTable::Hash hash = corpus.table().hash();
  const Corpus::Value* const values = corpus.values();
  const size_t longest = corpus.has_long_tokens() ? kLongestKey : kOvershoot;
  const uint8_t* done = progress.done;
  uint8_t* out = progress.out;
  uint64_t replaced = progress.replaced;
  for (; i < count; i += 2) {
    const uint8_t* const token = text + edges[i];
    const size_t size = edges[i + 1] - edges[i];
    if (__builtin_expect(size > longest, 0)) break;
    const uint64_t low = load64(token) & kKeyMasks.low[size];
    const uint64_t high = load64(token + 8) & kKeyMasks.high[size];
    const size_t slot = hash({low, high});
    const uint64_t differs = (low ^ keys[slot].low) | (high ^ keys[slot].high);
    const uint64_t found = 0 - static_cast<uint64_t>(differs == 0);  // all ones, or zero
    // An unfound token reads the size in slot 0, which is warm, and not its own, which may not be.
    const Corpus::Value* const value = values + (slot & found);
    const uint8_t* const from = select(found, value->text, token);
    const size_t written = size + ((value->size - size) & found);
    if (__builtin_expect(written > kOvershoot, 0)) break;
    const auto gap = static_cast<size_t>(token - done);
    copy32(out, done);
    if (__builtin_expect(gap > kOvershoot, 0)) std::memcpy(out + kOvershoot, done + kOvershoot, gap - kOvershoot);
    out += gap;
    copy32(out, from);
    out += written;
    done = token + size;
    replaced -= found;
  }
  progress = {done, out, replaced};
  return i;
}

using ReplaceQuickly = size_t (*)(const Corpus&, const uint8_t*, const uint32_t*, size_t, size_t, Progress&);

size_t replace_quickly_portable(const Corpus& corpus, const uint8_t* text, const uint32_t* edges, size_t i,
                                size_t count, Progress& progress) {
  return replace_quickly(corpus, text, edges, i, count, progress);
}

#if defined(__x86_64__)
__attribute__((target("avx2,bmi,bmi2"))) size_t replace_quickly_avx2(const Corpus& corpus, const uint8_t* text,
                                                                     const uint32_t* edges, size_t i, size_t count,
                                                                     Progress& progress) {
  return replace_quickly(corpus, text, edges, i, count, progress);
}
#endif

ReplaceQuickly best_replace_quickly() {
#if defined(__x86_64__)
  if (cpu_level() >= Cpu::avx2) return replace_quickly_avx2;
#endif
  return replace_quickly_portable;
}

class Replacer {
 public:
  Replacer(const Corpus& corpus, const uint8_t* text, size_t size, size_t start, Buffer& output)
      : corpus_(corpus), text_(text), end_(text + size), done_(text + start), output_(output) {
    output_.reserve((size - start) * 2 + kOvershoot);
    out_ = output_.data();
  }

  uint64_t run() {
    static const FindEdges find_edges_here = find_edges();
    uint32_t edges[kChunk + 1 + kEdgeSlack];
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
      replace_tokens(edges, count & ~size_t{1});
      kept = count & 1;
      edges[0] = kept ? edge_end[-1] : 0;
    }
    const auto rest = static_cast<size_t>(end_ - done_);
    make_room(rest);
    if (rest) std::memcpy(out_, done_, rest);
    output_.size = static_cast<size_t>(out_ + rest - output_.data());
    return replaced_;
  }

 private:
  // Room for `size` more bytes and the overshoot.
  void make_room(size_t size) {
    const auto used = static_cast<size_t>(out_ - output_.data());
    if (output_.capacity() - used >= size + kOvershoot) return;
    output_.reserve(used + size + kOvershoot + output_.capacity() / 2);
    out_ = output_.data() + used;
  }

  // Room for the text up to `end`, `tokens` of its tokens replaced by the longest texts of the table.
  void make_room_to(const uint8_t* end, size_t tokens) {
    make_room((end > done_ ? static_cast<size_t>(end - done_) : 0) + tokens * Corpus::kInline);
  }

  // The tokens [edges[0], edges[1]), [edges[2], edges[3]) ... up to `count`, which is even.
  void replace_tokens(const uint32_t* edges, size_t count) {
    static const ReplaceQuickly quickly = best_replace_quickly();
    if (count == 0) return;
    const uint8_t* const last = text_ + edges[count - 1];
    make_room_to(last, count / 2);
    // The quick loop reads beyond its token: the tokens at the very end are left to the careful one.
    size_t quick = count;
    while (quick != 0 && static_cast<size_t>(end_ - text_) - edges[quick - 2] < kOvershoot) quick -= 2;
    size_t i = 0;
    while (i < count) {
      while (i < count && text_ + edges[i] < done_) i += 2;  // inside a compound word already replaced
      if (i < quick) {
        Progress progress{done_, out_, replaced_};
        i = quickly(corpus_, text_, edges, i, quick, progress);
        done_ = progress.done;
        out_ = progress.out;
        replaced_ = progress.replaced;
      }
      if (i < count && text_ + edges[i] >= done_) {
        replace_carefully(text_ + edges[i], edges[i + 1] - edges[i]);
        i += 2;
        make_room_to(last, (count - i) / 2);
      }
    }
  }

  void replace_carefully(const uint8_t* token, size_t size) {
    const Match match = corpus_.find(token, size, end_);
    const uint8_t* const next = match.end ? match.end : token + size;
    const uint8_t* const copied = match.end ? token : next;
    const auto verbatim = static_cast<size_t>(copied - done_);
    make_room(verbatim + match.size);
    if (verbatim) std::memcpy(out_, done_, verbatim);
    if (match.size) std::memcpy(out_ + verbatim, match.text, match.size);
    out_ += verbatim + match.size;
    done_ = next;
    replaced_ += match.end != nullptr;
  }

  const Corpus& corpus_;
  const uint8_t* const text_;
  const uint8_t* const end_;
  const uint8_t* done_;  // the text before it is written
  Buffer& output_;
  uint8_t* out_;
  uint64_t replaced_ = 0;
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

uint64_t replace_words(const Corpus& corpus, const uint8_t* text, size_t size, size_t start, Buffer& output) {
  return Replacer(corpus, text, size, start, output).run();
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

const char* replacing_path() { return best_replace_quickly() == replace_quickly_portable ? "portable" : "avx2"; }

}  // namespace accel
