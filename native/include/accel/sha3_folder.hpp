// The digests of all files of a tar stream. The stream is cut into regions, each planned in the order of the stream
// and then hashed by any thread: whole files side by side in the lanes, files of several regions one piece after another.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "accel/sha3.hpp"
#include "accel/tar_reader.hpp"

namespace accel {

// A file that goes on from region to region: its pieces take turns.
struct LongFile {
  LongFile(const Sha3Kind& kind, Cpu level) : hash(kind, level) {}
  std::mutex lock;
  std::condition_variable turned;
  uint64_t turn = 0;  // the piece that may be hashed
  Sha3 hash;          // the owner of the turn alone touches it
};

// What one region holds.
class Sha3Region {
 public:
  struct Digest {
    std::string path;
    std::string target;    // of a hard link, which has no bytes of its own
    const uint8_t* bytes;  // digest_size of them, in the region
  };

  Sha3Region(const Sha3Kind& kind, size_t digest_size, Cpu level) : kind_(kind), digest_size_(digest_size), level_(level) {}

  // Hashes; `region` is the bytes that were planned, wherever they are now. May wait for the regions before this one,
  // which must have been begun. To be called once.
  void run(const uint8_t* region);

  // Of the files that end here, and the hard links, in the order of the stream; for when run() is over.
  std::vector<Digest> digests() const;

 private:
  friend class Sha3Folder;
  struct Piece {
    std::string path;    // of a file that ends here, or a hard link
    std::string target;  // of a hard link
    size_t at, size;   // in the region
    std::shared_ptr<LongFile> file;  // nullptr: a whole file
    uint64_t turn;
    bool last;
  };
  void run_piece(const Piece& piece, const uint8_t* region, uint8_t* digest);

  const Sha3Kind kind_;
  const size_t digest_size_;
  const Cpu level_;
  std::vector<Piece> pieces_;
  std::vector<uint8_t> digests_;
};

// Reads the stream, region by region, on one thread. What it throws it may not be used after.
class Sha3Folder {
 public:
  // Of one stream; more is a TarStreamError. The answer is made of paths and digests in hexadecimal.
  static constexpr uint64_t kMostFiles = 65536;
  static constexpr uint64_t kLargestAnswer = 32 << 20;

  Sha3Folder(const Sha3Kind& kind, size_t digest_size, Cpu level) : kind_(kind), digest_size_(digest_size), level_(level) {}

  // Where the region that begins with these bytes should end, so that few files lie in two. Throws TarStreamError.
  size_t cut(const uint8_t* data, size_t size) const;

  // The next region. Throws TarStreamError.
  std::unique_ptr<Sha3Region> plan(const uint8_t* region, size_t size);

  // The stream is over. Throws TarStreamError when it should not be.
  void finish() const { reader_.finish(); }

  size_t digest_size() const { return digest_size_; }
  uint64_t files() const { return files_; }
  uint64_t passed_over() const { return reader_.passed_over(); }

 private:
  class Planner;

  const Sha3Kind kind_;
  const size_t digest_size_;
  const Cpu level_;
  TarReader reader_;
  // Of the file in the middle of which the last region ended.
  std::string path_;
  std::shared_ptr<LongFile> file_;
  uint64_t turn_ = 0;
  uint64_t files_ = 0;
  uint64_t answer_size_ = 0;
};

}  // namespace accel
