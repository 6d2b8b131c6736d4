// Headers of a tar archive: POSIX.1-2001 ustar, with a pax extended header where ustar cannot say it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "accel/buffer.hpp"

namespace accel {

constexpr size_t kTarBlock = 512;

// How many bytes fill the last block of a member's content.
inline size_t tar_padding(uint64_t size) { return static_cast<size_t>(-size & (kTarBlock - 1)); }

// One member. The path of a folder ends in '/'.
struct TarEntry {
  std::string path;
  std::string link;  // target of a symbolic link, or the path of the member a hard link repeats
  char type = '0';
  uint32_t mode = 0;
  uint64_t uid = 0;
  uint64_t gid = 0;
  uint64_t size = 0;
  int64_t mtime = 0;  // whole seconds
  uint32_t major = 0;
  uint32_t minor = 0;
  std::string user;
  std::string group;
};

// The 512 bytes of a header, with its text fields.
struct TarHeader {
  char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100], magic[6], version[2],
      user[32], group[32], major[8], minor[8], prefix[155], unused[12];

  void sign();              // writes the checksum
  bool is_signed() const;   // whether it is right
  bool is_zero() const;     // a block of the end of an archive
};
static_assert(sizeof(TarHeader) == kTarBlock);

using PaxRecords = std::vector<std::pair<std::string, std::string>>;

// The text "length key=value\n" of each record.
std::string pax_text(const PaxRecords& records);

// Parses it; false when it is malformed.
bool parse_pax(const char* text, size_t size, PaxRecords& records);

// Appends a pax header with its records.
void append_pax(const PaxRecords& records, Buffer& output);

// Appends all that stands before the member's content.
void append_header(const TarEntry& entry, Buffer& output);

// A number field: octal digits, or GNU's base 256 for what these cannot hold; false when it is neither.
bool parse_number(const char* field, size_t size, uint64_t& value);

// Writes `value` as octal digits; it must fit.
void write_octal(char* field, size_t size, uint64_t value);

// What is the same for every copy of a file: executable by its owner, or not.
uint32_t normal_mode(char type, uint32_t mode);

}  // namespace accel
