// Formats: POSIX.1-2008, "pax", sections "ustar Interchange Format" and "pax Extended Header"; base-256 numbers as
// the GNU tar manual describes them ("Extensions to the basic format").
#include "accel/tar_header.hpp"

#include <algorithm>
#include <cstring>

namespace accel {
namespace {

constexpr uint64_t kLargestId = 07777777;
constexpr uint64_t kLargestSize = 077777777777;

uint32_t checksum_of(const TarHeader& header) {
  const auto* const bytes = reinterpret_cast<const uint8_t*>(&header);
  uint32_t sum = 0;
  for (size_t i = 0; i < kTarBlock; ++i) sum += bytes[i];
  // The checksum field itself counts as blanks.
  for (const char c : header.checksum) sum += ' ' - static_cast<uint8_t>(c);
  return sum;
}

// Whether the text is UTF-8 beyond ASCII.
bool is_unicode(const std::string& text) {
  bool unicode = false;
  for (size_t i = 0; i < text.size();) {
    const auto first = static_cast<uint8_t>(text[i]);
    if (first < 0x80) {
      ++i;
      continue;
    }
    unicode = true;
    const size_t more = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : 1;
    if (first < 0xC2 || first > 0xF4 || text.size() - i <= more) return false;
    uint32_t point = first & (0x3Fu >> more);
    for (size_t j = 1; j <= more; ++j) {
      const auto next = static_cast<uint8_t>(text[i + j]);
      if ((next & 0xC0) != 0x80) return false;
      point = point << 6 | (next & 0x3F);
    }
    const bool overlong = (more == 2 && point < 0x800) || (more == 3 && point < 0x10000);
    if (overlong || point > 0x10FFFF || (point >= 0xD800 && point < 0xE000)) return false;
    i += more + 1;
  }
  return unicode;
}

template <size_t N>
void put(char (&field)[N], const std::string& text) {
  std::memcpy(field, text.data(), std::min(N, text.size()));
}

// Puts a path into name and prefix; false when they cannot hold it.
bool put_path(TarHeader& header, const std::string& path) {
  if (path.size() <= sizeof header.name) {
    put(header.name, path);
    return true;
  }
  if (path.size() > sizeof header.prefix + 1 + sizeof header.name) return false;
  // The first slash behind which the rest fits; a folder's own final one leaves no name.
  const size_t slash = path.find('/', std::max<size_t>(1, path.size() - sizeof header.name - 1));
  if (slash == std::string::npos || slash + 1 == path.size() || slash > sizeof header.prefix) return false;
  put(header.prefix, path.substr(0, slash));
  put(header.name, path.substr(slash + 1));
  return true;
}

void complete(TarHeader& header, char type) {
  header.type = type;
  std::memcpy(header.magic, "ustar", sizeof header.magic);
  std::memcpy(header.version, "00", sizeof header.version);
  header.sign();
}

}  // namespace

void write_octal(char* field, size_t size, uint64_t value) {
  field[size - 1] = 0;
  for (size_t i = size - 1; i-- > 0; value >>= 3) field[i] = static_cast<char>('0' + (value & 7));
}

bool parse_number(const char* field, size_t size, uint64_t& value) {
  value = 0;
  const auto first = static_cast<uint8_t>(field[0]);
  if (first & 0x80) {
    if (first & 0x40) return false;  // negative
    for (size_t i = 0; i < size; ++i) {
      if (value >> 56) return false;
      value = value << 8 | (static_cast<uint8_t>(field[i]) & (i ? 0xFF : 0x7F));
    }
    return true;
  }
  size_t i = 0;
  while (i < size && field[i] == ' ') ++i;
  for (; i < size && field[i] >= '0' && field[i] <= '7'; ++i) value = value << 3 | static_cast<uint64_t>(field[i] - '0');
  return i == size || field[i] == 0 || field[i] == ' ';
}

void TarHeader::sign() {
  write_octal(checksum, sizeof checksum - 1, checksum_of(*this));
  checksum[sizeof checksum - 1] = ' ';
}

bool TarHeader::is_signed() const {
  uint64_t value = 0;
  return parse_number(checksum, sizeof checksum, value) && value == checksum_of(*this);
}

bool TarHeader::is_zero() const {
  const auto* const bytes = reinterpret_cast<const uint8_t*>(this);
  return bytes[0] == 0 && std::memcmp(bytes, bytes + 1, kTarBlock - 1) == 0;
}

std::string pax_text(const PaxRecords& records) {
  std::string text;
  for (const auto& [key, value] : records) {
    const size_t rest = key.size() + value.size() + 3;  // blank, equals sign, line feed
    size_t length = rest + 1;
    // The length counts its own digits.
    while (rest + std::to_string(length).size() != length) length = rest + std::to_string(length).size();
    text += std::to_string(length) + ' ' + key + '=' + value + '\n';
  }
  return text;
}

bool parse_pax(const char* text, size_t size, PaxRecords& records) {
  for (size_t at = 0; at < size;) {
    size_t length = 0, i = at;
    for (; i < size && text[i] >= '0' && text[i] <= '9'; ++i) {
      length = length * 10 + static_cast<size_t>(text[i] - '0');
      if (length > size) return false;
    }
    if (i == at || i >= size || text[i] != ' ') return false;
    const size_t end = at + length, begin = i + 1;
    if (end > size || end <= begin || text[end - 1] != '\n') return false;
    const auto* const equals = static_cast<const char*>(std::memchr(text + begin, '=', end - 1 - begin));
    if (!equals || equals == text + begin) return false;
    records.emplace_back(std::string(text + begin, equals), std::string(equals + 1, text + end - 1));
    at = end;
  }
  return true;
}

void append_pax(const PaxRecords& records, Buffer& output) {
  const std::string text = pax_text(records);
  TarHeader header = {};
  put(header.name, "PaxHeader/entry");
  write_octal(header.mode, sizeof header.mode, 0644);
  write_octal(header.uid, sizeof header.uid, 0);
  write_octal(header.gid, sizeof header.gid, 0);
  write_octal(header.size, sizeof header.size, text.size());
  write_octal(header.mtime, sizeof header.mtime, 0);
  complete(header, 'x');
  output.append(&header, sizeof header);
  output.append(text.data(), text.size());
  output.append_zeros(tar_padding(text.size()));
}

void append_header(const TarEntry& entry, Buffer& output) {
  TarHeader header = {};
  PaxRecords records;
  // In a record, bytes that are no UTF-8 stand as they are, as in GNU tar's; what should announce them
  // ("hdrcharset") makes GNU tar complain.
  if (!put_path(header, entry.path) || is_unicode(entry.path)) records.emplace_back("path", entry.path);
  // What stands in the header then is for readers that know no pax.
  if (header.name[0] == 0) put(header.name, entry.path);
  put(header.link, entry.link);
  if (entry.link.size() > sizeof header.link || is_unicode(entry.link)) records.emplace_back("linkpath", entry.link);
  const auto number = [&](auto& field, const char* key, uint64_t value, uint64_t largest) {
    write_octal(field, sizeof field, value <= largest ? value : 0);
    if (value > largest) records.emplace_back(key, std::to_string(value));
  };
  write_octal(header.mode, sizeof header.mode, entry.mode & 07777);
  number(header.uid, "uid", entry.uid, kLargestId);
  number(header.gid, "gid", entry.gid, kLargestId);
  number(header.size, "size", entry.size, kLargestSize);
  const bool plain_time = entry.mtime >= 0 && static_cast<uint64_t>(entry.mtime) <= kLargestSize;
  write_octal(header.mtime, sizeof header.mtime, plain_time ? static_cast<uint64_t>(entry.mtime) : 0);
  if (!plain_time) records.emplace_back("mtime", std::to_string(entry.mtime));
  if (entry.type == '3' || entry.type == '4') {
    write_octal(header.major, sizeof header.major, entry.major & kLargestId);
    write_octal(header.minor, sizeof header.minor, entry.minor & kLargestId);
  }
  // A name that does not fit is left out: the number says whose the file is.
  if (entry.user.size() < sizeof header.user) put(header.user, entry.user);
  if (entry.group.size() < sizeof header.group) put(header.group, entry.group);
  if (!records.empty()) append_pax(records, output);
  complete(header, entry.type);
  output.append(&header, sizeof header);
}

uint32_t normal_mode(char type, uint32_t mode) {
  if (type == '5') return 0755;
  if (type == '2') return 0777;
  return mode & 0100 ? 0755 : 0644;
}

}  // namespace accel
