// Reading tar headers (IEEE Std 1003.1-2017, pax; GNU tar manual, "Basic Tar Format").
#include "accel/tar_reader.hpp"

#include <algorithm>
#include <cstring>

namespace accel {
namespace {

// Where the fields of a header stand, and their sizes.
struct Field {
  size_t at, size;
};
constexpr Field kName{0, 100}, kSize{124, 12}, kChecksum{148, 8}, kTarget{157, 100}, kPrefix{345, 155};
constexpr size_t kType = 156;
constexpr size_t kMagic = 257;
constexpr uint64_t kLargestSize = (uint64_t{1} << 63) - TarReader::kBlock - 1;

// Digits of an octal field after its leading blanks, up to a blank or zero byte; false when it holds anything else.
bool read_octal(const uint8_t* field, size_t size, uint64_t& value) {
  size_t i = 0;
  while (i < size && field[i] == ' ') ++i;
  value = 0;
  for (; i < size && field[i] != ' ' && field[i] != 0; ++i) {
    if (field[i] < '0' || field[i] > '7' || value > kLargestSize >> 3) return false;
    value = (value << 3) | static_cast<uint64_t>(field[i] - '0');
  }
  return true;
}

// Octal, or GNU's base 256: the first bit set, then a big-endian number, which is negative when the second is set too.
bool read_number(const uint8_t* field, size_t size, uint64_t& value) {
  if ((field[0] & 0x80) == 0) return read_octal(field, size, value);
  if (field[0] != 0x80) return false;
  value = 0;
  for (size_t i = 1; i < size; ++i) {
    if (value > kLargestSize >> 8) return false;
    value = (value << 8) | field[i];
  }
  return value <= kLargestSize;
}

bool read_decimal(const std::string& text, uint64_t& value) {
  value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9' || value > (kLargestSize - 9) / 10) return false;
    value = value * 10 + static_cast<uint64_t>(c - '0');
  }
  return !text.empty();
}

std::string read_text(const uint8_t* field, size_t size) {
  return std::string(field, std::find(field, field + size, uint8_t{0}));
}

// The sum of the header's bytes with blanks for the checksum itself. Some old programs took the bytes as signed.
bool checksum_is_right(const std::array<uint8_t, TarReader::kBlock>& block) {
  uint64_t expected = 0;
  if (!read_octal(block.data() + kChecksum.at, kChecksum.size, expected)) return false;
  uint64_t sum = 0, high = 0;
  for (size_t i = 0; i < block.size(); ++i) {
    const bool blank = i >= kChecksum.at && i < kChecksum.at + kChecksum.size;
    const uint8_t byte = blank ? ' ' : block[i];
    sum += byte;
    high += byte >> 7;
  }
  return sum == expected || static_cast<int64_t>(sum) - 256 * static_cast<int64_t>(high) == static_cast<int64_t>(expected);
}

bool all_zero(const uint8_t* data, size_t size) {
  return std::all_of(data, data + size, [](uint8_t byte) { return byte == 0; });
}

}  // namespace

void TarReader::push(const uint8_t* data, size_t size, TarHandler& handler) {
  const uint8_t* const end = data + size;
  while (data != end) {
    const auto given = static_cast<uint64_t>(end - data);
    const uint64_t wanted = state_ == State::header ? kBlock - block_size_ : state_ == State::ended ? given : left_;
    const auto part = static_cast<size_t>(std::min(given, wanted));
    if (state_ == State::header && block_size_ == 0) header_offset_ = offset_;
    offset_ += part;
    left_ -= state_ == State::header || state_ == State::ended ? 0 : part;
    switch (state_) {
      case State::header:
        std::memcpy(block_.data() + block_size_, data, part);
        block_size_ += part;
        if (block_size_ == kBlock) {
          block_size_ = 0;
          take_header(handler);
        }
        break;
      case State::extension:
        extension_.append(reinterpret_cast<const char*>(data), part);
        if (left_ == 0) {
          take_extension();
          begin_padding(padding_);
        }
        break;
      case State::file:
        handler.data(data, part);
        if (left_ == 0) {
          handler.end_file();
          begin_padding(padding_);
        }
        break;
      case State::padding:
        if (left_ == 0) begin_padding(0);
        break;
      case State::ended:
        if (!all_zero(data, part)) refuse("bytes follow the end of the archive, which is at this offset");
        boundary_ = offset_;
        break;
    }
    data += part;
  }
}

void TarReader::finish() const {
  if (state_ == State::ended) return;
  throw TarStreamError(offset_, "the stream ends before the end of the archive");
}

// To the next header, after `size` bytes that mean nothing.
void TarReader::begin_padding(uint64_t size) {
  left_ = size;
  state_ = size == 0 ? State::header : State::padding;
  if (size == 0 && !extended_) boundary_ = offset_;
}

void TarReader::take_header(TarHandler& handler) {
  if (all_zero(block_.data(), kBlock)) {
    if (extended_) refuse("the archive ends after an extension, before the file it belongs to");
    state_ = State::ended;
    boundary_ = offset_;
    return;
  }
  if (!checksum_is_right(block_)) refuse("no tar header: its checksum is wrong");
  uint64_t size = 0;
  if (!read_number(block_.data() + kSize.at, kSize.size, size)) refuse("the size in a header is no number, or too large");
  const auto type = static_cast<char>(block_[kType]);
  if (type == 'x' || type == 'g' || type == 'L' || type == 'K') return begin_extension(type, size);
  if (has_size_) size = size_;
  std::string path = !pax_path_.empty() ? pax_path_ : !long_path_.empty() ? long_path_ : path_of_header();
  std::string target = !pax_target_.empty()    ? pax_target_
                       : !long_target_.empty() ? long_target_
                                               : read_text(block_.data() + kTarget.at, kTarget.size);
  for (std::string* const text : {&pax_path_, &long_path_, &pax_target_, &long_target_}) text->clear();
  has_size_ = extended_ = false;
  begin_member(type, std::move(path), std::move(target), size, handler);
}

void TarReader::begin_member(char type, std::string path, std::string target, uint64_t size, TarHandler& handler) {
  switch (type) {
    case '\0':
      if (path.empty() || path.back() != '/' || size != 0) return begin_file(std::move(path), size, handler);
      break;  // how v7 writes a folder
    case '0':
    case '7':  // "contiguous": a file like others
      return begin_file(std::move(path), size, handler);
    case '1':
      check_path(path);
      check_path(target);
      handler.hard_link(std::move(path), std::move(target));
      return begin_padding(0);
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':  // symbolic links, devices, folders, FIFOs: like a hard link's, their size counts no bytes of the stream
      break;
    case 'S':
      refuse("a sparse file; pack it without holes");
    default:
      refuse("a member of unknown type, byte " + std::to_string(static_cast<uint8_t>(type)));
  }
  ++passed_over_;
  begin_padding(0);
}

void TarReader::begin_file(std::string path, uint64_t size, TarHandler& handler) {
  check_path(path);
  padding_ = (kBlock - size % kBlock) % kBlock;
  left_ = size;
  handler.begin_file(std::move(path), size);
  if (size != 0) {
    state_ = State::file;
  } else {
    handler.end_file();
    begin_padding(0);
  }
}

void TarReader::check_path(const std::string& path) const {
  if (path.empty()) refuse("a file or its target has no name");
  if (path.size() > kLongestPath) refuse("a name longer than " + std::to_string(kLongestPath) + " bytes");
}

void TarReader::begin_extension(char type, uint64_t size) {
  if (size > kLargestExtension) refuse("an extension larger than " + std::to_string(kLargestExtension) + " bytes");
  extended_ = extended_ || type != 'g';
  extension_type_ = type;
  extension_.clear();
  padding_ = (kBlock - size % kBlock) % kBlock;
  left_ = size;
  state_ = State::extension;
  if (size == 0) begin_padding(0);
}

void TarReader::take_extension() {
  if (extension_type_ == 'L' || extension_type_ == 'K') {
    (extension_type_ == 'L' ? long_path_ : long_target_) = extension_.substr(0, extension_.find('\0'));
    return;
  }
  // Records "length key=value\n", whose length counts all of the record.
  for (size_t at = 0; at < extension_.size();) {
    const size_t blank = extension_.find(' ', at);
    uint64_t length = 0;
    if (blank == std::string::npos || blank - at > 20 || !read_decimal(extension_.substr(at, blank - at), length) ||
        length <= blank - at + 1 || length > extension_.size() - at || extension_[at + length - 1] != '\n') {
      refuse("a malformed record in a pax header");
    }
    const size_t equals = extension_.find('=', blank), end = at + length - 1;
    if (equals >= end) refuse("a malformed record in a pax header");
    take_pax_record(extension_.substr(blank + 1, equals - blank - 1), extension_.substr(equals + 1, end - equals - 1));
    at += length;
  }
}

void TarReader::take_pax_record(const std::string& key, const std::string& value) {
  if (key.compare(0, 11, "GNU.sparse.") == 0) refuse("a sparse file; pack it without holes");
  if (key != "path" && key != "linkpath" && key != "size") return;
  if (extension_type_ == 'g') refuse("a global pax header that sets '" + key + "'");
  if (key == "size") {
    has_size_ = !value.empty();  // an empty value takes back an earlier one
    if (has_size_ && !read_decimal(value, size_)) refuse("the size in a pax header is no number, or too large");
    return;
  }
  if (value.find('\0') != std::string::npos) refuse("a zero byte in a name");
  (key == "path" ? pax_path_ : pax_target_) = value;
}

std::string TarReader::path_of_header() const {
  const std::string name = read_text(block_.data() + kName.at, kName.size);
  // GNU's older format has another magic, and something else where the prefix stands.
  if (std::memcmp(block_.data() + kMagic, "ustar", 6) != 0) return name;
  const std::string prefix = read_text(block_.data() + kPrefix.at, kPrefix.size);
  return prefix.empty() ? name : prefix + "/" + name;
}

void TarReader::refuse(const std::string& reason) const { throw TarStreamError(header_offset_, reason); }

}  // namespace accel
