// The threads take turns to walk on by a batch of entries, then pack their batches at the same time: each becomes one
// piece of the archive. The reader takes the pieces in order.
#include "accel/folder_packer.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace accel {
namespace {

[[noreturn]] void fail(const std::string& path) { throw FolderError(path, errno, std::strerror(errno)); }

// Reads up to `size` bytes; less only at the end of the file.
size_t read_up_to(int fd, uint8_t* data, size_t size, const std::string& path) {
  size_t done = 0;
  while (done < size) {
    const ssize_t count = ::read(fd, data + done, size - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(path);
    if (count == 0) break;
    done += static_cast<size_t>(count);
  }
  return done;
}

void count(uint64_t& number, std::string& first, const std::string& path) {
  if (number++ == 0) first = path;
}

class Closing {
 public:
  explicit Closing(int fd) : fd_(fd) {}
  Closing(const Closing&) = delete;
  Closing& operator=(const Closing&) = delete;
  ~Closing() {
    if (fd_ >= 0) ::close(fd_);
  }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

}  // namespace

void FolderFacts::add(const FolderFacts& later) {
  if (changed == 0) first_changed = later.first_changed;
  if (vanished == 0) first_vanished = later.first_vanished;
  if (sockets == 0) first_socket = later.first_socket;
  entries += later.entries;
  changed += later.changed;
  vanished += later.vanished;
  sockets += later.sockets;
}

FolderPacker::Batch::~Batch() {
  for (const Large& file : large) {
    if (file.fd >= 0) ::close(file.fd);
  }
}

FolderPacker::FolderPacker(const std::string& root, const std::string& top, unsigned threads)
    : walk_(root, top), thread_count_(std::max(1u, threads)) {}

FolderPacker::~FolderPacker() {
  {
    const std::lock_guard<std::mutex> guard(lock_);
    stopping_ = true;
  }
  moved_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

// --- the packing threads

void FolderPacker::work() {
  std::vector<FolderItem> items;
  while (true) {
    uint64_t number = 0;
    Batch batch;
    {
      const std::lock_guard<std::mutex> turn(walking_);
      {
        std::unique_lock<std::mutex> guard(lock_);
        moved_.wait(guard, [&] { return stopping_ || walked_ || taken_ < read_ + kWindow; });
        if (stopping_ || walked_) return;
        number = taken_;
      }
      items.clear();
      bool more = true;
      try {
        FolderItem item;
        while (more && items.size() < kBatch) {
          more = walk_.next(item);
          if (more) items.push_back(std::move(item));
        }
      } catch (...) {
        batch.error = std::current_exception();
        more = false;
      }
      const std::lock_guard<std::mutex> guard(lock_);
      ++taken_;
      walked_ = !more;
    }
    pack(number, items, batch);
    {
      const std::lock_guard<std::mutex> guard(lock_);
      ready_.emplace(number, std::move(batch));
      while (ready_.count(packed_) != 0) ++packed_;
    }
    moved_.notify_all();
  }
}

void FolderPacker::pack(uint64_t number, std::vector<FolderItem>& items, Batch& batch) {
  batch.bytes = pool_.take();
  batch.bytes.size = 0;
  try {
    for (FolderItem& item : items) pack_item(number, item, batch);
  } catch (...) {
    // It comes before what the walk met behind these entries.
    batch.error = std::current_exception();
  }
}

void FolderPacker::pack_item(uint64_t number, FolderItem& item, Batch& batch) {
  if (item.kind == DT_DIR) {
    TarEntry entry = entry_of(item, item.status, '5');
    append(entry, batch);
  } else if (item.kind == DT_REG) {
    pack_file(number, item, batch);
  } else {
    pack_other(item, batch);
  }
}

void FolderPacker::pack_file(uint64_t number, FolderItem& item, Batch& batch) {
  // Not blocking: it may have become a FIFO since its folder was read.
  const int fd = ::openat(item.parent->fd, item.name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) {
    if (errno == ENOENT) return count(batch.facts.vanished, batch.facts.first_vanished, item.path);
    if (errno == ELOOP || errno == ENXIO) return pack_other(item, batch);
    fail(item.path);
  }
  Closing closing(fd);
  struct stat status;
  if (::fstat(fd, &status) != 0) fail(item.path);
  if (!S_ISREG(status.st_mode)) return pack_other(item, batch);
  TarEntry entry = entry_of(item, status, '0');
  if (status.st_nlink > 1 && repeats(number, status, entry)) return append(entry, batch);
  const auto size = static_cast<uint64_t>(status.st_size);
  entry.size = size;
  append(entry, batch);
  if (size > kInline) {
    ::posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    batch.large.push_back({batch.bytes.size, closing.release(), size, entry.path});
  } else {
    item.path = std::move(entry.path);
    pack_content(item, fd, size, batch);
  }
}

void FolderPacker::pack_content(const FolderItem& item, int fd, uint64_t size, Batch& batch) {
  // One byte more than announced: whether the file has grown costs no call of its own.
  const auto wanted = static_cast<size_t>(size);
  uint8_t* const to = batch.bytes.extend(wanted + kTarBlock);
  const size_t got = read_up_to(fd, to, wanted + 1, item.path);
  if (got != wanted) count(batch.facts.changed, batch.facts.first_changed, item.path);
  const size_t kept = std::min(got, wanted);
  std::memset(to + kept, 0, wanted - kept + tar_padding(size));
  batch.bytes.size += wanted + tar_padding(size);
}

void FolderPacker::pack_other(FolderItem& item, Batch& batch) {
  struct stat status;
  if (::fstatat(item.parent->fd, item.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return count(batch.facts.vanished, batch.facts.first_vanished, item.path);
    fail(item.path);
  }
  if (S_ISSOCK(status.st_mode)) return count(batch.facts.sockets, batch.facts.first_socket, item.path);
  // A file or folder has taken its place: what was there is gone.
  if (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode)) {
    return count(batch.facts.vanished, batch.facts.first_vanished, item.path);
  }
  const char type = S_ISLNK(status.st_mode) ? '2' : S_ISCHR(status.st_mode) ? '3' : S_ISBLK(status.st_mode) ? '4' : '6';
  TarEntry entry = entry_of(item, status, type);
  if (type == '2') {
    std::string target(256, '\0');
    while (true) {
      const ssize_t length = ::readlinkat(item.parent->fd, item.name.c_str(), target.data(), target.size());
      if (length < 0) fail(entry.path);
      if (static_cast<size_t>(length) < target.size()) {
        target.resize(static_cast<size_t>(length));
        break;
      }
      target.resize(target.size() * 2);
    }
    entry.link = std::move(target);
  } else if (type != '6') {
    entry.major = major(status.st_rdev);
    entry.minor = minor(status.st_rdev);
  }
  append(entry, batch);
}

// Whether the file is a member already; `entry` is then a hard link to that.
bool FolderPacker::repeats(uint64_t number, const struct stat& status, TarEntry& entry) {
  // "Already" means before it in the archive: all earlier batches must have been packed.
  std::unique_lock<std::mutex> guard(lock_);
  moved_.wait(guard, [&] { return stopping_ || packed_ == number; });
  const auto [place, is_new] = links_.emplace(std::make_pair(status.st_dev, status.st_ino), entry.path);
  if (is_new) return false;
  entry.type = '1';
  entry.link = place->second;
  return true;
}

TarEntry FolderPacker::entry_of(FolderItem& item, const struct stat& status, char type) {
  TarEntry entry;
  entry.path = std::move(item.path);
  entry.type = type;
  if (normal_) {
    entry.mode = normal_mode(type, status.st_mode);
    return entry;
  }
  entry.mode = status.st_mode & 07777;
  entry.uid = status.st_uid;
  entry.gid = status.st_gid;
  entry.mtime = status.st_mtime;
  entry.user = user(status.st_uid);
  entry.group = group(status.st_gid);
  return entry;
}

void FolderPacker::append(TarEntry& entry, Batch& batch) {
  append_header(entry, batch.bytes);
  ++batch.facts.entries;
}

const std::string& FolderPacker::user(uid_t id) {
  const std::lock_guard<std::mutex> guard(naming_);
  const auto [place, is_new] = users_.try_emplace(id);
  if (is_new) {
    char text[4096];
    passwd record, *found = nullptr;
    if (::getpwuid_r(id, &record, text, sizeof text, &found) == 0 && found) place->second = found->pw_name;
  }
  return place->second;
}

const std::string& FolderPacker::group(gid_t id) {
  const std::lock_guard<std::mutex> guard(naming_);
  const auto [place, is_new] = groups_.try_emplace(id);
  if (is_new) {
    char text[4096];
    ::group record, *found = nullptr;
    if (::getgrgid_r(id, &record, text, sizeof text, &found) == 0 && found) place->second = found->gr_name;
  }
  return place->second;
}

// --- the reader

size_t FolderPacker::read(uint8_t* data, size_t size) {
  if (threads_.empty()) {
    for (unsigned i = 0; i < thread_count_; ++i) threads_.emplace_back([this] { work(); });
  }
  size_t done = 0;
  while (done < size) {
    const size_t end = large_ < batch_.large.size() ? batch_.large[large_].at : batch_.bytes.size;
    if (at_ < end) {
      const size_t part = std::min(size - done, end - at_);
      std::memcpy(data + done, batch_.bytes.data() + at_, part);
      at_ += part;
      done += part;
    } else if (large_ < batch_.large.size()) {
      done += read_large(data + done, size - done);
    } else if (!next_batch(done == 0)) {
      break;
    }
  }
  if (ended_ && done < size) {
    const size_t part = std::min(size - done, zeros_);
    std::memset(data + done, 0, part);
    zeros_ -= part;
    done += part;
  }
  return done;
}

// Goes on to the next batch; false at the end, or when it is not ready and the reader need not wait for it.
bool FolderPacker::next_batch(bool wait) {
  if (batch_.error) std::rethrow_exception(batch_.error);
  if (ended_) return false;
  {
    std::unique_lock<std::mutex> guard(lock_);
    const auto arrived = [&] { return ready_.count(read_) != 0 || (walked_ && read_ == taken_); };
    if (!arrived()) {
      if (!wait) return false;
      moved_.wait(guard, arrived);
    }
    const auto found = ready_.find(read_);
    if (found == ready_.end()) {
      ended_ = true;
      return false;
    }
    pool_.give(std::move(batch_.bytes));
    batch_ = std::move(found->second);
    ready_.erase(found);
    ++read_;
  }
  moved_.notify_all();
  facts_.add(batch_.facts);
  at_ = large_ = 0;
  large_done_ = 0;
  return true;
}

size_t FolderPacker::read_large(uint8_t* data, size_t size) {
  Large& file = batch_.large[large_];
  const uint64_t left = file.size - large_done_;
  size_t done = 0;
  if (left > 0 && file.fd >= 0) {
    const auto wanted = static_cast<size_t>(std::min<uint64_t>(size, left));
    done = read_up_to(file.fd, data, wanted, file.path);
    large_done_ += done;
    uint8_t more = 0;
    const bool shrunk = done < wanted;
    const bool grown = large_done_ == file.size && read_up_to(file.fd, &more, 1, file.path) == 1;
    if (shrunk || grown) count(facts_.changed, facts_.first_changed, file.path);
    if (shrunk || large_done_ == file.size) ::close(std::exchange(file.fd, -1));
    if (done > 0) return done;
  }
  // The rest of a file that shrank, and of the last block.
  const uint64_t zeros = file.size + tar_padding(file.size) - large_done_;
  done = static_cast<size_t>(std::min<uint64_t>(size, zeros));
  std::memset(data, 0, done);
  large_done_ += done;
  if (done == zeros) {
    ++large_;
    large_done_ = 0;
  }
  return done;
}

}  // namespace accel
