// A folder as a tar stream that is made while it is read. Threads of its own open and read files ahead.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "accel/buffer.hpp"
#include "accel/folder_walk.hpp"
#include "accel/tar_header.hpp"

namespace accel {

// What became of a folder's entries.
struct FolderFacts {
  uint64_t entries = 0;  // members of the archive
  uint64_t changed = 0;  // files that grew or shrank while they were read, cut or padded to the size announced
  uint64_t vanished = 0;  // left out: removed while the folder was read
  uint64_t sockets = 0;   // left out: no archive can hold one
  std::string first_changed, first_vanished, first_socket;

  void add(const FolderFacts& later);
};

// Files up to kInline bytes are read ahead, in batches of kBatch entries, kWindow batches at most: 16 MiB when every
// file is of that size. Larger ones are opened ahead and read into the caller's memory.
class FolderPacker {
 public:
  // `root` is the folder's path, `top` its name in the archive.
  FolderPacker(const std::string& root, const std::string& top, unsigned threads);
  FolderPacker(const FolderPacker&) = delete;
  FolderPacker& operator=(const FolderPacker&) = delete;
  ~FolderPacker();

  // Leave out times, owners, and all mode bits but "executable". Call it before the first `read`.
  void normalise() { normal_ = true; }

  // Leave out the two zero blocks of the end, so that more members can follow.
  void omit_end() { zeros_ = 0; }

  // The next bytes; less than `size` when more are not ready yet, 0 at the end of the archive.
  // Throws FolderError. For one thread at a time.
  size_t read(uint8_t* data, size_t size);

  // As far as the archive was read.
  const FolderFacts& facts() const { return facts_; }

 private:
  static constexpr size_t kInline = 64 << 10;
  static constexpr size_t kBatch = 32;
  static constexpr uint64_t kWindow = 8;

  // A file whose content belongs at `at` in its batch's bytes.
  struct Large {
    size_t at;
    int fd;
    uint64_t size;
    std::string path;
  };
  struct Batch {
    Batch() = default;
    Batch(Batch&&) = default;
    Batch& operator=(Batch&&) = default;
    ~Batch();
    Buffer bytes;
    std::vector<Large> large;
    FolderFacts facts;
    std::exception_ptr error;  // raised behind the bytes
  };

  void work();
  void pack(uint64_t number, std::vector<FolderItem>& items, Batch& batch);
  void pack_item(uint64_t number, FolderItem& item, Batch& batch);
  void pack_file(uint64_t number, FolderItem& item, Batch& batch);
  void pack_content(const FolderItem& item, int fd, uint64_t size, Batch& batch);
  void pack_other(FolderItem& item, Batch& batch);
  bool repeats(uint64_t number, const struct stat& status, TarEntry& entry);
  TarEntry entry_of(FolderItem& item, const struct stat& status, char type);
  void append(TarEntry& entry, Batch& batch);
  const std::string& user(uid_t id);
  const std::string& group(gid_t id);

  bool next_batch(bool wait);
  size_t read_large(uint8_t* data, size_t size);

  FolderWalk walk_;
  const unsigned thread_count_;
  bool normal_ = false;
  std::vector<std::thread> threads_;
  BufferPool pool_;

  std::mutex walking_;  // taken first: the walk, and who takes the next batch
  std::mutex lock_;     // all that follows
  std::condition_variable moved_;
  std::map<uint64_t, Batch> ready_;
  uint64_t taken_ = 0;    // batches begun
  uint64_t packed_ = 0;   // batches packed, without a gap
  uint64_t read_ = 0;     // batches the reader has begun
  std::map<std::pair<dev_t, ino_t>, std::string> links_;  // first member of each file with several names
  bool walked_ = false;   // no batch will be begun any more
  bool stopping_ = false;

  std::mutex naming_;
  std::map<uid_t, std::string> users_;
  std::map<gid_t, std::string> groups_;

  // The reader's.
  Batch batch_;
  size_t at_ = 0;          // in the batch's bytes
  size_t large_ = 0;       // next of the batch's large files
  uint64_t large_done_ = 0;
  size_t zeros_ = 2 * kTarBlock;  // of the end, still to come
  bool ended_ = false;
  FolderFacts facts_;
};

}  // namespace accel
