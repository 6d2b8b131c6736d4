// Depth-first walk by openat. Deep levels are left by "..", checked by device and inode, as the GNU and BSD tree
// walkers (fts) do when they may not keep every ancestor open.
#include "accel/folder_walk.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace accel {
namespace {

constexpr int kOpenFolder = O_RDONLY | O_DIRECTORY | O_CLOEXEC;

unsigned char kind_of_mode(mode_t mode) {
  if (S_ISREG(mode)) return DT_REG;
  if (S_ISDIR(mode)) return DT_DIR;
  if (S_ISLNK(mode)) return DT_LNK;
  if (S_ISFIFO(mode)) return DT_FIFO;
  if (S_ISCHR(mode)) return DT_CHR;
  if (S_ISBLK(mode)) return DT_BLK;
  return DT_SOCK;
}

[[noreturn]] void fail(const std::string& path) { throw FolderError(path, errno, std::strerror(errno)); }

}  // namespace

OpenFolder::~OpenFolder() { ::close(fd); }

FolderWalk::FolderWalk(const std::string& root, const std::string& top) : root_(root), top_(top) {}

bool FolderWalk::next(FolderItem& item) {
  if (!begun_) {
    begun_ = true;
    const int descriptor = ::open(root_.c_str(), kOpenFolder);
    if (descriptor < 0) fail(root_);
    return enter(descriptor, top_ + '/', item);
  }
  while (!levels_.empty()) {
    Level& level = levels_.back();
    if (level.at == level.entries.size()) {
      leave();
      continue;
    }
    Entry& entry = level.entries[level.at++];
    std::string path = level.path + entry.name;
    if (entry.kind == DT_DIR) {
      entry.name.pop_back();
      const int descriptor = ::openat(level.folder->fd, entry.name.c_str(), kOpenFolder | O_NOFOLLOW);
      if (descriptor >= 0) return enter(descriptor, std::move(path), item);
      if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP) fail(path);
      // No folder any more: whoever reads the entry finds out what it is now.
      path.pop_back();
      entry.kind = DT_REG;
    }
    item.parent = level.folder;
    item.name = std::move(entry.name);
    item.path = std::move(path);
    item.kind = entry.kind;
    return true;
  }
  return false;
}

bool FolderWalk::enter(int descriptor, std::string path, FolderItem& item) {
  auto folder = std::make_shared<OpenFolder>(descriptor);
  if (::fstat(descriptor, &item.status) != 0) fail(path);
  item.parent = folder;
  item.name.clear();
  item.path = path;
  item.kind = DT_DIR;
  std::vector<Entry> entries = entries_of(descriptor, path);
  if (levels_.size() >= kOpen) levels_[levels_.size() - kOpen].folder.reset();
  levels_.push_back({std::move(folder), item.status.st_dev, item.status.st_ino, std::move(path), std::move(entries)});
  return true;
}

void FolderWalk::leave() {
  const Level left = std::move(levels_.back());
  levels_.pop_back();
  if (levels_.empty() || levels_.back().folder) return;
  Level& level = levels_.back();
  const int descriptor = ::openat(left.folder->fd, "..", kOpenFolder);
  if (descriptor < 0) fail(level.path);
  level.folder = std::make_shared<OpenFolder>(descriptor);
  struct stat status;
  if (::fstat(descriptor, &status) != 0) fail(level.path);
  if (status.st_dev != level.device || status.st_ino != level.inode) {
    throw FolderError(level.path, ESTALE, "it was moved while it was read");
  }
}

std::vector<FolderWalk::Entry> FolderWalk::entries_of(int descriptor, const std::string& path) {
  // A directory stream closes its descriptor; this one is wanted for longer.
  const int copy = ::fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
  DIR* const stream = copy < 0 ? nullptr : ::fdopendir(copy);
  if (!stream) {
    const int code = errno;
    if (copy >= 0) ::close(copy);
    errno = code;
    fail(path);
  }
  std::vector<Entry> entries;
  int code = 0;
  while (true) {
    errno = 0;
    const dirent* const found = ::readdir(stream);
    if (!found) {
      code = errno;
      break;
    }
    std::string name = found->d_name;
    if (name == "." || name == "..") continue;
    unsigned char kind = found->d_type;
    if (kind == DT_UNKNOWN) {
      struct stat status;
      // Gone since: whoever reads it finds that out.
      kind = DT_REG;
      if (::fstatat(descriptor, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0) kind = kind_of_mode(status.st_mode);
    }
    if (kind == DT_DIR) name += '/';
    entries.push_back({std::move(name), kind});
  }
  ::closedir(stream);
  if (code != 0) {
    errno = code;
    fail(path);
  }
  std::sort(entries.begin(), entries.end());
  return entries;
}

}  // namespace accel
