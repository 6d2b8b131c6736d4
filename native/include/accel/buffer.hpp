// Memory for output: bytes that grow, and a pool of them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

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
  const uint8_t* data() const { return data_; }
  size_t capacity() const { return capacity_; }
  // Room for `more` bytes behind those in use, for the caller to fill and count in `size`.
  uint8_t* extend(size_t more) {
    if (size + more > capacity_) reserve(std::max(size + more, capacity_ * 2));
    return data_ + size;
  }
  void append(const void* from, size_t bytes) {
    std::memcpy(extend(bytes), from, bytes);
    size += bytes;
  }
  void append_zeros(size_t bytes) {
    std::memset(extend(bytes), 0, bytes);
    size += bytes;
  }
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

}  // namespace accel
