// A reader of tar streams that is given the stream piece by piece and hands on the bytes of its regular files. What is
// done with them is the handler's matter. Nothing it is given is trusted.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace accel {

// A stream that cannot be read.
struct TarStreamError : std::runtime_error {
  TarStreamError(uint64_t at, const std::string& reason) : std::runtime_error(reason), offset(at) {}
  uint64_t offset;  // of the block meant, from the start of the stream
};

struct TarHandler {
  virtual ~TarHandler() = default;
  virtual void begin_file(std::string path, uint64_t size) = 0;
  virtual void data(const uint8_t* bytes, size_t size) = 0;
  virtual void end_file() = 0;
  // A further name of a file that came before.
  virtual void hard_link(std::string path, std::string target) = 0;
};

// Formats: ustar (IEEE Std 1003.1, pax, "ustar Interchange Format") with its prefix field; pax extended headers with
// `path`, `linkpath` and `size`; GNU's long names ('L', 'K') and base-256 numbers; the older v7. A name is a run of
// bytes, and is not looked at: "../x" is a name like others. Symbolic links, folders, devices and FIFOs are counted and
// passed over.
// Refused: a wrong checksum, unknown types, sparse files, volumes of a set, a stream without its end.
class TarReader {
 public:
  static constexpr uint64_t kBlock = 512;
  static constexpr uint64_t kLongestPath = 4096;         // PATH_MAX
  static constexpr uint64_t kLargestExtension = 1 << 20;  // of a pax header or a long name

  // The next bytes of the stream. Throws TarStreamError; the reader is of no use afterwards.
  void push(const uint8_t* data, size_t size, TarHandler& handler);

  // The stream is over. Throws TarStreamError when its end was not reached.
  void finish() const;

  uint64_t offset() const { return offset_; }
  // The last place, up to offset(), that lies between two files together with all that belongs to them.
  uint64_t boundary() const { return boundary_; }
  uint64_t passed_over() const { return passed_over_; }

 private:
  enum class State { header, extension, file, padding, ended };

  void take_header(TarHandler& handler);
  void take_extension();
  void take_pax_record(const std::string& key, const std::string& value);
  void begin_member(char type, std::string path, std::string target, uint64_t size, TarHandler& handler);
  void begin_file(std::string path, uint64_t size, TarHandler& handler);
  void begin_extension(char type, uint64_t size);
  void begin_padding(uint64_t size);
  std::string path_of_header() const;
  void check_path(const std::string& path) const;
  [[noreturn]] void refuse(const std::string& reason) const;

  State state_ = State::header;
  uint64_t offset_ = 0;
  uint64_t header_offset_ = 0;  // of the header that is being read or was read last
  uint64_t boundary_ = 0;
  uint64_t left_ = 0;     // bytes of the file, extension or padding that are still to come
  uint64_t padding_ = 0;  // that comes after them
  uint64_t passed_over_ = 0;
  std::array<uint8_t, kBlock> block_{};
  size_t block_size_ = 0;
  char extension_type_ = 0;
  std::string extension_;
  // What extensions say about the next member.
  bool extended_ = false;
  std::string pax_path_, long_path_, pax_target_, long_target_;
  bool has_size_ = false;
  uint64_t size_ = 0;
};

}  // namespace accel
