// A folder's entries, sorted by path byte for byte (a folder counts as "name/"). It reads names, no files.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace accel {

// A file or folder that cannot be read.
struct FolderError : std::runtime_error {
  FolderError(std::string where, int number, const std::string& reason)
      : std::runtime_error(reason), path(std::move(where)), code(number) {}
  std::string path;
  int code;  // errno
};

// An open folder; closed with the last that needs it.
class OpenFolder {
 public:
  explicit OpenFolder(int descriptor) : fd(descriptor) {}
  OpenFolder(const OpenFolder&) = delete;
  OpenFolder& operator=(const OpenFolder&) = delete;
  ~OpenFolder();
  const int fd;
};

// One entry. `kind` is a DT_ constant of dirent.h, never DT_UNKNOWN.
struct FolderItem {
  std::shared_ptr<OpenFolder> parent;
  std::string name;
  std::string path;  // below the top name; that of a folder ends in '/'
  unsigned char kind = 0;
  struct stat status = {};  // of a folder only
};

// Depth first. Open files: the folders on the way down, at most kOpen of them, whatever the depth.
class FolderWalk {
 public:
  // `top` is what the folder is called in the paths.
  FolderWalk(const std::string& root, const std::string& top);

  // The next entry; false when there is none. Throws FolderError.
  bool next(FolderItem& item);

 private:
  static constexpr size_t kOpen = 64;

  struct Entry {
    std::string name;  // that of a folder ends in '/'
    unsigned char kind;
    bool operator<(const Entry& other) const { return name < other.name; }
  };
  struct Level {
    std::shared_ptr<OpenFolder> folder;  // empty while deeper levels need the descriptor more
    dev_t device;
    ino_t inode;
    std::string path;
    std::vector<Entry> entries;
    size_t at = 0;
  };

  bool enter(int descriptor, std::string path, FolderItem& item);
  void leave();
  static std::vector<Entry> entries_of(int descriptor, const std::string& path);

  std::string root_;
  std::string top_;
  bool begun_ = false;
  std::vector<Level> levels_;
};

}  // namespace accel
