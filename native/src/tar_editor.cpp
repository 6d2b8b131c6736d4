// Formats: as tar_header.cpp.
#include "accel/tar_editor.hpp"

#include <algorithm>
#include <cstring>
#include <string>

namespace accel {
namespace {

[[noreturn]] void fail(uint64_t at, const std::string& reason) {
  throw TarError("byte " + std::to_string(at) + ": " + reason);
}

// Records that are about the name and content of a member, not about its owner and times.
bool is_lasting(const std::string& key) {
  return key == "path" || key == "linkpath" || key == "size" || key == "hdrcharset" || key.rfind("GNU.sparse.", 0) == 0;
}

bool has_content(char type) { return type < '1' || type > '6'; }

}  // namespace

void TarEditor::edit(const uint8_t* data, size_t size, Buffer& output) {
  while (size > 0 && !ended_) {
    size_t part = 0;
    if (passing_ > 0) {
      part = static_cast<size_t>(std::min<uint64_t>(size, passing_));
      if (!dropping_) output.append(data, part);
      passing_ -= part;
    } else {
      if (filled_ == 0 && pax_left_ == 0) header_at_ = at_;
      part = std::min(size, kTarBlock - filled_);
      std::memcpy(reinterpret_cast<uint8_t*>(&block_) + filled_, data, part);
      filled_ += part;
      if (filled_ == kTarBlock) {
        filled_ = 0;
        on_block(output);
      }
    }
    data += part;
    size -= part;
    at_ += part;
  }
}

void TarEditor::finish(Buffer& output) {
  if (ended_) return;
  if (passing_ > 0 || filled_ > 0 || announced_) fail(at_, "it breaks off in the middle of a file");
  if (at_ == 0) fail(0, "it is empty");
  end(output);
}

void TarEditor::end(Buffer& output) {
  ended_ = true;
  if (!omit_end_) output.append_zeros(2 * kTarBlock);
}

void TarEditor::on_block(Buffer& output) {
  if (pax_left_ > 0) {
    pax_.append(&block_, kTarBlock);
    pax_left_ -= kTarBlock;
    if (pax_left_ == 0) on_pax(output);
  } else {
    on_header(output);
  }
}

void TarEditor::on_header(Buffer& output) {
  if (block_.is_zero()) {
    if (announced_) fail(header_at_, "a header with no file behind it");
    return end(output);
  }
  if (!block_.is_signed()) fail(header_at_, "this is no tar header");
  uint64_t size = 0;
  if (!parse_number(block_.size, sizeof block_.size, size) || size > INT64_MAX) fail(header_at_, "a file of impossible size");
  switch (block_.type) {
    case 'x':
      if (size == 0 || size > kLargestPax) fail(header_at_, "a pax header of impossible size");
      announced_ = true;
      pax_.append(&block_, kTarBlock);
      pax_size_ = size;
      pax_left_ = size + tar_padding(size);
      return;
    case 'S':
      fail(header_at_, "a sparse file in GNU's old format; make the archive without --sparse");
    case 'g':
      dropping_ = normal_;
      if (!normal_) output.append(&block_, kTarBlock);
      passing_ = size + tar_padding(size);
      return;
    case 'K':
    case 'L':  // GNU: the long name of the next member
      announced_ = true;
      dropping_ = false;
      output.append(&block_, kTarBlock);
      passing_ = size + tar_padding(size);
      return;
    default:
      return on_member(size, output);
  }
}

void TarEditor::on_pax(Buffer& output) {
  PaxRecords records, lasting;
  const auto* const text = reinterpret_cast<const char*>(pax_.data()) + kTarBlock;
  if (!parse_pax(text, static_cast<size_t>(pax_size_), records)) fail(header_at_, "a pax header that is malformed");
  has_size_ = false;
  for (const auto& record : records) {
    if (record.first == "size") {
      has_size_ = !record.second.empty() && record.second.size() < 19 &&
                  record.second.find_first_not_of("0123456789") == std::string::npos;
      if (!has_size_) fail(header_at_, "a file of impossible size");
      size_ = std::stoull(record.second);
    }
    if (is_lasting(record.first)) lasting.push_back(record);
  }
  if (!normal_) {
    output.append(pax_.data(), pax_.size);
  } else if (!lasting.empty()) {
    append_pax(lasting, output);
  }
  pax_.size = 0;
}

void TarEditor::on_member(uint64_t size, Buffer& output) {
  if (has_size_) size = size_;
  has_size_ = announced_ = false;
  dropping_ = false;
  passing_ = has_content(block_.type) ? size + tar_padding(size) : 0;
  if (normal_) normalise_header();
  output.append(&block_, kTarBlock);
  ++members_;
}

void TarEditor::normalise_header() {
  uint64_t mode = 0;
  if (!parse_number(block_.mode, sizeof block_.mode, mode)) fail(header_at_, "a file of impossible mode");
  write_octal(block_.mode, sizeof block_.mode, normal_mode(block_.type, static_cast<uint32_t>(mode)));
  write_octal(block_.uid, sizeof block_.uid, 0);
  write_octal(block_.gid, sizeof block_.gid, 0);
  write_octal(block_.mtime, sizeof block_.mtime, 0);
  std::memset(block_.user, 0, sizeof block_.user);
  std::memset(block_.group, 0, sizeof block_.group);
  // GNU's own format has times where ustar has the prefix.
  if (std::memcmp(block_.magic, "ustar ", sizeof block_.magic) == 0) std::memset(block_.prefix, 0, sizeof block_.prefix);
  block_.sign();
}

}  // namespace accel
