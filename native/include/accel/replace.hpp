// Whole-word replacement and search: one pass over a region of a text, and where a text may be cut into regions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "accel/corpus.hpp"

namespace accel {

// Bytes that grow without being cleared; `size` of them are in use.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), capacity_(std::exchange(other.capacity_, 0)), size(other.size) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(capacity_, other.capacity_);
    size = other.size;
    return *this;
  }
  ~Buffer() { std::free(data_); }

  uint8_t* data() { return data_; }
  size_t capacity() const { return capacity_; }
  void reserve(size_t capacity) {
    if (capacity <= capacity_) return;
    void* const grown = std::realloc(data_, capacity);
    if (!grown) throw std::bad_alloc();
    data_ = static_cast<uint8_t*>(grown);
    capacity_ = capacity;
  }

 private:
  uint8_t* data_ = nullptr;
  size_t capacity_ = 0;

 public:
  size_t size = 0;
};

// Buffers used again and again: fresh memory would cost a page fault every 4 KiB of output.
class BufferPool {
 public:
  Buffer take() {
    const std::lock_guard<std::mutex> guard(lock_);
    if (free_.empty()) return Buffer();
    Buffer buffer = std::move(free_.back());
    free_.pop_back();
    return buffer;
  }
  void give(Buffer buffer) {
    const std::lock_guard<std::mutex> guard(lock_);
    if (free_.size() < kKept && buffer.capacity() <= kLargest) free_.push_back(std::move(buffer));
  }

 private:
  static constexpr size_t kKept = 64;
  static constexpr size_t kLargest = 64u << 20;
  std::mutex lock_;
  std::vector<Buffer> free_;
};

// Writes the region [start, size) of `text` with its corpus words replaced to `output`; returns how many were.
// text[start - 1] tells whether the region begins inside a word. At each place the longest corpus word wins.
// `counts`, when given, has an entry per word id, to which each word found is added.
uint64_t replace_words(const Corpus& corpus, const uint8_t* text, size_t size, size_t start, Buffer& output,
                       uint64_t* counts = nullptr);

// Writes a line "offset:word" to `lines` for each corpus word in the region, the word as it stands in the text;
// `offset` is that of text[start]. Returns how many there are.
uint64_t find_words(const Corpus& corpus, const uint8_t* text, size_t size, size_t start, uint64_t offset,
                    Buffer& lines, uint64_t* counts = nullptr);

// The last good place in (start, size] to end a region that begins at `start`: no corpus word spans it, whatever
// follows. The window must be longer than twice the longest word and one byte.
size_t cut_between_words(const Corpus& corpus, const uint8_t* text, size_t size, size_t start);

}  // namespace accel
