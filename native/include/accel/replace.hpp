// Whole-word replacement: one pass over a region of a text, and where a text may be cut into regions.
#pragma once

#include <cstddef>
#include <cstdint>

#include "accel/buffer.hpp"
#include "accel/corpus.hpp"

namespace accel {

// Writes the region [start, size) of `text` with its corpus words replaced to `output`; returns how many were.
// text[start - 1] tells whether the region begins inside a word. At each place the longest corpus word wins.
uint64_t replace_words(const Corpus& corpus, const uint8_t* text, size_t size, size_t start, Buffer& output);

// Which implementation replace_words takes.
const char* replacing_path();

// The last good place in (start, size] to end a region that begins at `start`: no corpus word spans it, whatever
// follows. The window must be longer than twice the longest word and one byte.
size_t cut_between_words(const Corpus& corpus, const uint8_t* text, size_t size, size_t start);

}  // namespace accel
