// Planning and hashing the regions of a tar stream.
#include "accel/sha3_folder.hpp"

#include <utility>

namespace accel {
namespace {

class Ignore : public TarHandler {
  void begin_file(std::string, uint64_t) override {}
  void data(const uint8_t*, size_t) override {}
  void end_file() override {}
  void hard_link(std::string, std::string) override {}
};

}  // namespace

void Sha3Region::run(const uint8_t* region) {
  // What others may wait for comes first, and before anything that could throw: the file that begins here and does
  // not end, then the one that goes on.
  for (size_t i = pieces_.size(); i-- != 0;) {
    if (pieces_[i].file != nullptr) run_piece(pieces_[i], region, digests_.data() + i * digest_size_);
  }
  std::vector<Sha3Message> messages;
  messages.reserve(pieces_.size());
  for (size_t i = 0; i < pieces_.size(); ++i) {
    const Piece& piece = pieces_[i];
    if (piece.file == nullptr && piece.target.empty()) messages.push_back({region + piece.at, piece.size, digests_.data() + i * digest_size_});
  }
  sha3_many(kind_, digest_size_, level_, messages);
}

void Sha3Region::run_piece(const Piece& piece, const uint8_t* region, uint8_t* digest) {
  LongFile& file = *piece.file;
  {
    std::unique_lock<std::mutex> guard(file.lock);
    file.turned.wait(guard, [&] { return file.turn == piece.turn; });
  }
  file.hash.update(region + piece.at, piece.size);
  if (piece.last) file.hash.digest(digest, digest_size_);
  {
    const std::lock_guard<std::mutex> guard(file.lock);
    ++file.turn;
  }
  file.turned.notify_all();
}

std::vector<Sha3Region::Digest> Sha3Region::digests() const {
  std::vector<Digest> found;
  found.reserve(pieces_.size());
  for (size_t i = 0; i < pieces_.size(); ++i) {
    if (pieces_[i].last) found.push_back({pieces_[i].path, pieces_[i].target, digests_.data() + i * digest_size_});
  }
  return found;
}

// Turns what the reader sees in one region into its pieces.
class Sha3Folder::Planner : public TarHandler {
 public:
  Planner(Sha3Folder& folder, Sha3Region& region, const uint8_t* data) : folder_(folder), region_(region), start_(data) {
    begin_piece();
  }

  void begin_file(std::string path, uint64_t) override {
    count(path);
    folder_.path_ = std::move(path);
    open_ = true;
    begin_piece();
  }
  void data(const uint8_t* bytes, size_t size) override {
    if (size_ == 0) at_ = static_cast<size_t>(bytes - start_);
    open_ = true;
    size_ += size;
  }
  void end_file() override {
    region_.pieces_.push_back({std::move(folder_.path_), std::string(), at_, size_, std::move(folder_.file_), folder_.turn_, true});
    folder_.path_.clear();
    folder_.file_ = nullptr;
    folder_.turn_ = 0;
    open_ = false;
  }

  void hard_link(std::string path, std::string target) override {
    count(path);
    region_.pieces_.push_back({std::move(path), std::move(target), 0, 0, nullptr, 0, true});
  }

  // The region is over, perhaps in the middle of a file.
  void finish() {
    if (!open_) return;
    if (folder_.file_ == nullptr) folder_.file_ = std::make_shared<LongFile>(region_.kind_, region_.level_);
    region_.pieces_.push_back({std::string(), std::string(), at_, size_, folder_.file_, folder_.turn_++, false});
  }

 private:
  void count(const std::string& path) {
    folder_.answer_size_ += path.size() + 2 * region_.digest_size_;
    if (++folder_.files_ > kMostFiles) refuse("more than " + std::to_string(kMostFiles) + " files");
    if (folder_.answer_size_ > kLargestAnswer) refuse("paths and digests of more than 32 MiB");
  }
  [[noreturn]] void refuse(const std::string& what) const {
    throw TarStreamError(folder_.reader_.offset(), what + "; give the folder in parts");
  }
  void begin_piece() { at_ = size_ = 0; }

  Sha3Folder& folder_;
  Sha3Region& region_;
  const uint8_t* const start_;
  size_t at_ = 0, size_ = 0;
  bool open_ = false;  // a file has begun or goes on, and has not ended
};

size_t Sha3Folder::cut(const uint8_t* data, size_t size) const {
  TarReader ahead = reader_;
  Ignore nobody;
  ahead.push(data, size, nobody);
  const uint64_t start = reader_.offset();
  const size_t between = ahead.boundary() > start ? static_cast<size_t>(ahead.boundary() - start) : 0;
  return between > size / 2 ? between : size;
}

std::unique_ptr<Sha3Region> Sha3Folder::plan(const uint8_t* region, size_t size) {
  auto planned = std::make_unique<Sha3Region>(kind_, digest_size_, level_);
  Planner planner(*this, *planned, region);
  reader_.push(region, size, planner);
  planner.finish();
  planned->digests_.resize(planned->pieces_.size() * digest_size_);
  return planned;
}

}  // namespace accel
