// A tar stream that came from elsewhere: checked, and changed on its way if asked to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>

#include "accel/buffer.hpp"
#include "accel/tar_header.hpp"

namespace accel {

// The bytes are no tar archive, or not all of one.
struct TarError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Fed pieces of any size. What comes out ends in exactly two zero blocks, whatever followed the end that came in.
class TarEditor {
 public:
  // As FolderPacker's.
  void normalise() { normal_ = true; }
  void omit_end() { omit_end_ = true; }

  // Appends what `data` completes to `output`. Throws TarError.
  void edit(const uint8_t* data, size_t size, Buffer& output);

  // The input has ended. Throws TarError when it breaks off inside a member.
  void finish(Buffer& output);

  uint64_t members() const { return members_; }

 private:
  static constexpr uint64_t kLargestPax = 1 << 20;

  void on_block(Buffer& output);
  void on_header(Buffer& output);
  void on_pax(Buffer& output);
  void on_member(uint64_t size, Buffer& output);
  void normalise_header();
  void end(Buffer& output);

  bool normal_ = false;
  bool omit_end_ = false;
  bool ended_ = false;
  uint64_t at_ = 0;       // bytes of the input taken
  uint64_t header_at_ = 0;  // where the header that is read began
  uint64_t members_ = 0;
  TarHeader block_ = {};  // being filled
  size_t filled_ = 0;
  uint64_t passing_ = 0;  // bytes of content, padding included, still to come
  bool dropping_ = false;  // they are not passed on
  Buffer pax_;            // header and text of a pax header being read
  uint64_t pax_size_ = 0;
  uint64_t pax_left_ = 0;
  bool announced_ = false;  // a header about the next member has come
  bool has_size_ = false;  // a pax record says the next member's size
  uint64_t size_ = 0;
};

}  // namespace accel
