// Random members through the header maker and the tar editor, and random damage to them, for a build with sanitizers:
// every piece lies in a block of its exact size. With a folder, also that through the packer by threads.
// Usage: fuzz_tar [seed [seconds [folder]]]
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "accel/folder_packer.hpp"
#include "accel/tar_editor.hpp"
#include "accel/tar_header.hpp"
#include "fuzz_run.hpp"

namespace {

void require(bool held, const char* what) {
  if (held) return;
  std::fprintf(stderr, "fuzz_tar: %s\n", what);
  std::abort();
}

class Fuzzer {
 public:
  explicit Fuzzer(uint64_t seed) : random_(seed) {}

  void round() {
    accel::Buffer archive, normal;
    const size_t members = below(5);
    for (size_t i = 0; i < members; ++i) add(archive, normal);
    archive.append_zeros(2 * accel::kTarBlock);
    normal.append_zeros(2 * accel::kTarBlock);
    const std::string whole(reinterpret_cast<const char*>(archive.data()), archive.size);
    require(edited(whole, false) == whole, "an archive changed on its way");
    require(edited(whole, true) == std::string(reinterpret_cast<const char*>(normal.data()), normal.size),
            "normalised on its way is not what is made normalised");
    damage(whole);
  }

  uint64_t refused() const { return refused_; }

 private:
  uint64_t below(uint64_t limit) { return limit ? random_() % limit : 0; }

  std::string some_text(size_t limit) {
    static const char* const kPieces[] = {"a", "dir/", "\xc3\xa9", "\xff", "name", "/", " ", "\xf0\x9f\x98\x80"};
    std::string text = "x";
    for (const size_t size = below(limit); text.size() < size;) text += kPieces[below(8)];
    return text;
  }

  uint64_t some_number() { return random_() >> (8 + below(56)); }

  void add(accel::Buffer& archive, accel::Buffer& normal) {
    accel::TarEntry entry;
    entry.path = some_text(below(2) ? 30 : 400);
    entry.type = "012356"[below(6)];
    if (entry.type == '1' || entry.type == '2') entry.link = some_text(below(2) ? 30 : 300);
    if (entry.type == '5') entry.path += '/';
    entry.mode = static_cast<uint32_t>(below(010000));
    entry.uid = some_number();
    entry.gid = some_number();
    entry.mtime = static_cast<int64_t>(some_number()) * (below(4) ? 1 : -1);
    entry.user = some_text(below(2) ? 5 : 60);
    entry.size = entry.type == '0' ? below(3 * accel::kTarBlock) : 0;
    std::string content(entry.size, static_cast<char>(below(256)));
    accel::append_header(entry, archive);
    archive.append(content.data(), content.size());
    archive.append_zeros(accel::tar_padding(entry.size));
    entry.uid = entry.gid = 0;
    entry.mtime = 0;
    entry.user.clear();
    entry.mode = accel::normal_mode(entry.type, entry.mode);
    accel::append_header(entry, normal);
    normal.append(content.data(), content.size());
    normal.append_zeros(accel::tar_padding(entry.size));
  }

  std::string edited(const std::string& archive, bool normal) {
    accel::TarEditor editor;
    if (normal) editor.normalise();
    std::string result;
    const size_t limit = below(3) ? 2000 : 40;
    for (size_t at = 0; at < archive.size();) {
      const size_t size = std::min<size_t>(archive.size() - at, 1 + below(limit));
      const std::unique_ptr<uint8_t[]> piece(new uint8_t[size]);
      std::memcpy(piece.get(), archive.data() + at, size);
      accel::Buffer output;
      editor.edit(piece.get(), size, output);
      result.append(reinterpret_cast<const char*>(output.data()), output.size);
      at += size;
    }
    accel::Buffer output;
    editor.finish(output);
    result.append(reinterpret_cast<const char*>(output.data()), output.size);
    return result;
  }

  // Refused or taken, never a wrong access.
  void damage(std::string archive) {
    for (size_t n = 1 + below(6); n > 0; --n) {
      char& byte = archive[below(archive.size())];
      byte = below(2) ? static_cast<char>(below(256)) : "0123456789 \n=\0xgLS"[below(18)];
    }
    if (below(2)) archive.resize(below(archive.size() + 1));
    for (size_t at = 0; below(2) && at + accel::kTarBlock <= archive.size(); at += accel::kTarBlock) {
      reinterpret_cast<accel::TarHeader*>(&archive[at])->sign();
    }
    try {
      edited(archive, below(2) != 0);
    } catch (const accel::TarError&) {
      ++refused_;
    }
  }

  std::mt19937_64 random_;
  uint64_t refused_ = 0;
};

// The folder twice, by different numbers of threads and pieces: the same, or a file in it cannot be read.
void pack(const char* folder, uint64_t seed) {
  std::string first;
  for (unsigned threads = 1; threads <= 4; ++threads) {
    accel::FolderPacker packer(folder, "top", threads);
    std::string archive;
    std::vector<uint8_t> piece(1 + (seed * threads) % 100'000);
    while (const size_t count = packer.read(piece.data(), piece.size())) {
      archive.append(reinterpret_cast<const char*>(piece.data()), count);
    }
    require(threads == 1 || archive == first, "the packer gives not the same every time");
    first = std::move(archive);
    accel::FolderPacker broken_off(folder, "top", threads);
    broken_off.read(piece.data(), piece.size());
  }
}

}  // namespace

int main(int count, char** arguments) {
  FuzzRun run(count, arguments);
  Fuzzer fuzzer(run.seed());
  while (run.next_round()) fuzzer.round();
  if (count > 3) pack(arguments[3], run.seed());
  std::printf("fuzz_tar: seed %llu, %llu rounds, %llu damaged archives refused\n",
              run.seed(), run.rounds(),
              static_cast<unsigned long long>(fuzzer.refused()));
}
