// Whole-word replacement and search: one pass over a region of a text, and where a text may be cut into regions.
#pragma once

#include <cstddef>
#include <cstdint>

#include "accel/buffer.hpp"
#include "accel/corpus.hpp"

namespace accel {

// Writes the region [start, size) of `text` with its corpus words replaced to `output`; returns how many were.
// text[start - 1] tells whether the region begins inside a word. At each place the longest corpus word wins.
// `counts`, when given, has an entry per word id, to which each word found is added.
uint64_t replace_words(const Corpus& corpus, const uint8_t* text, size_t size, size_t start, Buffer& output,
                       uint64_t* counts = nullptr);

// Writes a line "offset:word" to `lines` for each corpus word in the region, the word as it stands in the text;
// `offset` is that of text[start]. Returns how many there are.
uint64_t find_words(const Corpus& corpus, const uint8_t* text, size_t size, size_t start, uint64_t offset,
                    Buffer& lines, uint64_t* counts = nullptr);

// Which implementation replace_words takes.
const char* replacing_path();

// The last good place in (start, size] to end a region that begins at `start`: no corpus word spans it, whatever
// follows. The window must be longer than twice the longest word and one byte.
size_t cut_between_words(const Corpus& corpus, const uint8_t* text, size_t size, size_t start);

}  // namespace accel
