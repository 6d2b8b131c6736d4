// Where words begin and end in a text: a word character is one of [A-Za-z0-9_], as GNU sed's \< and \>
// see it in the C locale. What a word means to anybody is not here.
#pragma once

#include <cstddef>
#include <cstdint>

namespace accel {

namespace detail {
struct WordTable {
  bool is_word[256];
  constexpr WordTable() : is_word() {
    for (int c = 0; c < 256; ++c) {
      is_word[c] = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
    }
  }
};
inline constexpr WordTable kWordTable{};
}  // namespace detail

inline bool is_word(uint8_t c) { return detail::kWordTable.is_word[c]; }

// The ASCII letters of eight bytes in lower case; all other bytes stay.
inline uint64_t lower_case(uint64_t bytes) {
  constexpr uint64_t kEach = 0x0101010101010101ull;
  const uint64_t low = bytes & (0x7F * kEach);
  const uint64_t capital = ~bytes & ((low + (0x80 - 'A') * kEach) ^ (low + (0x7F - 'Z') * kEach)) & (0x80 * kEach);
  return bytes | (capital >> 2);
}

inline const uint8_t* skip_word(const uint8_t* p, const uint8_t* end) {
  while (p != end && is_word(*p)) ++p;
  return p;
}

inline const uint8_t* skip_gap(const uint8_t* p, const uint8_t* end) {
  while (p != end && !is_word(*p)) ++p;
  return p;
}

// find_edges may write this many entries more than it returns.
constexpr size_t kEdgeSlack = 32;

// Writes base + i to `edges` for every i in [0, size) where text[i] differs in kind from text[i - 1].
// `inside` says whether text[-1] is a word character, and is updated to the last one; when size is no
// multiple of 64 a word that reaches the end of the text is closed there. Returns the end of the edges.
using FindEdges = uint32_t* (*)(const uint8_t* text, size_t size, uint32_t base, bool& inside, uint32_t* edges);

uint32_t* find_edges_portable(const uint8_t* text, size_t size, uint32_t base, bool& inside, uint32_t* edges);

struct EdgesPath {
  FindEdges find;
  const char* name;
};

// The quickest implementation this CPU runs.
EdgesPath edges_path();

}  // namespace accel
