// SHA-3 on every path of this CPU against a plain implementation of the standard's formulas, and tar streams, whole,
// damaged and cut anywhere, through the reader and the folder hasher. For a build with sanitizers: every piece lies in a
// block of its exact size. Usage: fuzz_sha3 [seed [seconds]]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "accel/sha3.hpp"
#include "accel/sha3_folder.hpp"
#include "accel/tar_reader.hpp"
#include "fuzz_run.hpp"

namespace {

void require(bool held, const char* what) {
  if (held) return;
  std::fprintf(stderr, "fuzz_sha3: %s\n", what);
  std::abort();
}

struct Exact {
  Exact(const char* from, size_t count) : bytes(new uint8_t[count]), size(count) { std::copy(from, from + count, bytes.get()); }
  explicit Exact(const std::string& text) : Exact(text.data(), text.size()) {}
  std::unique_ptr<uint8_t[]> bytes;
  size_t size;
};

// FIPS 202 by its formulas: rotations by walking (x, y), round constants from the shift register of section 3.2.5.
class Plain {
 public:
  static std::string hash(size_t rate, uint8_t suffix, const std::string& message, size_t length) {
    std::string padded = message + static_cast<char>(suffix);
    padded.resize((padded.size() + rate - 1) / rate * rate, '\0');
    padded.back() = static_cast<char>(padded.back() | 0x80);
    uint64_t a[5][5] = {};
    for (size_t at = 0; at < padded.size(); at += rate) {
      for (size_t i = 0; i < rate; ++i) {
        a[i / 8 % 5][i / 40] ^= static_cast<uint64_t>(static_cast<uint8_t>(padded[at + i])) << (8 * (i % 8));
      }
      permute(a);
    }
    std::string output;
    while (true) {
      for (size_t i = 0; i < rate && output.size() < length; ++i) {
        output += static_cast<char>(a[i / 8 % 5][i / 40] >> (8 * (i % 8)));
      }
      if (output.size() == length) return output;
      permute(a);
    }
  }

 private:
  static uint64_t rotate(uint64_t v, unsigned n) { return n % 64 == 0 ? v : (v << n % 64) | (v >> (64 - n % 64)); }

  static void permute(uint64_t (&a)[5][5]) {
    unsigned shift_register = 1;
    for (int round = 0; round < 24; ++round) {
      uint64_t c[5], b[5][5];
      for (int x = 0; x < 5; ++x) c[x] = a[x][0] ^ a[x][1] ^ a[x][2] ^ a[x][3] ^ a[x][4];
      for (int x = 0; x < 5; ++x) {
        for (int y = 0; y < 5; ++y) a[x][y] ^= c[(x + 4) % 5] ^ rotate(c[(x + 1) % 5], 1);
      }
      b[0][0] = a[0][0];
      for (int t = 0, x = 1, y = 0; t < 24; ++t) {
        b[y][(2 * x + 3 * y) % 5] = rotate(a[x][y], static_cast<unsigned>((t + 1) * (t + 2) / 2));
        const int next = (2 * x + 3 * y) % 5;
        x = y;
        y = next;
      }
      for (int x = 0; x < 5; ++x) {
        for (int y = 0; y < 5; ++y) a[x][y] = b[x][y] ^ (~b[(x + 1) % 5][y] & b[(x + 2) % 5][y]);
      }
      for (int j = 0; j <= 6; ++j) {
        if (shift_register & 1) a[0][0] ^= 1ull << ((1 << j) - 1);
        shift_register = (shift_register << 1) ^ (shift_register & 0x80 ? 0x171 : 0);
      }
    }
  }
};

constexpr const char* kNames[] = {"sha3-224", "sha3-256", "sha3-384", "sha3-512", "shake-128", "shake-256"};

std::vector<accel::Cpu> levels() {
  std::vector<accel::Cpu> found;
  for (const accel::Cpu level : {accel::Cpu::portable, accel::Cpu::avx2, accel::Cpu::avx512}) {
    if (level <= accel::cpu_of_machine()) found.push_back(level);
  }
  return found;
}

class Fuzzer {
 public:
  explicit Fuzzer(uint64_t seed) : random_(seed) {}

  void round() {
    const accel::Sha3Kind& kind = *accel::find_sha3(kNames[below(6)]);
    const size_t length = kind.digest_size ? kind.digest_size : below(400);
    std::vector<std::string> messages(below(20));
    for (std::string& message : messages) message = some_bytes(kind.rate());
    std::vector<std::string> expected;
    for (const std::string& message : messages) expected.push_back(Plain::hash(kind.rate(), kind.suffix, message, length));
    for (const accel::Cpu level : levels()) {
      check_pieces(kind, length, level, messages, expected);
      check_many(kind, length, level, messages, expected);
      check_folder(kind, length, level, messages, expected);
    }
  }

  // Damaged streams: refused or read, never a wrong access.
  void round_of_damage() {
    std::string stream = make_tar({some_bytes(100), some_bytes(100), some_bytes(100)});
    for (size_t n = below(6); n > 0; --n) {
      const size_t at = below(stream.size());
      switch (below(4)) {
        case 0:
          stream[at] = static_cast<char>(random_());
          break;
        case 1:
          stream.erase(at, below(1500));
          break;
        case 2:
          stream.insert(at, std::string(below(700), static_cast<char>(random_())));
          break;
        default:
          std::swap(stream[at], stream[below(stream.size())]);
      }
      if (stream.empty()) return;
      // Most damage would end at the checksum.
      for (size_t block = 0; block + 512 <= stream.size() && below(8) != 0; block += 512) sign(stream, block);
    }
    accel::Sha3Folder folder(*accel::find_sha3("sha3-256"), 32, accel::cpu_of_machine());
    try {
      run_regions(folder, stream, 1 + below(3000), nullptr);
      ++read_;
    } catch (const accel::TarStreamError& error) {
      require(error.offset <= stream.size(), "an offset behind the stream");
      ++refused_;
    }
  }

  uint64_t read() const { return read_; }
  uint64_t refused() const { return refused_; }

 private:
  uint64_t below(uint64_t limit) { return limit ? random_() % limit : 0; }

  std::string some_bytes(size_t rate) {
    const size_t sizes[] = {0, 1, rate - 2, rate - 1, rate, rate + 1, 2 * rate, below(5 * rate), below(5000)};
    std::string made(sizes[below(9)], '\0');
    for (char& c : made) c = static_cast<char>(random_());
    return made;
  }

  void check_pieces(const accel::Sha3Kind& kind, size_t length, accel::Cpu level, const std::vector<std::string>& messages,
                    const std::vector<std::string>& expected) {
    for (size_t i = 0; i < messages.size(); ++i) {
      accel::Sha3 hash(kind, level);
      for (size_t at = 0; at < messages[i].size();) {
        const Exact piece(messages[i].data() + at, std::min<size_t>(1 + below(600), messages[i].size() - at));
        hash.update(piece.bytes.get(), piece.size);
        at += piece.size;
      }
      std::string digest(length, '\0');
      hash.digest(reinterpret_cast<uint8_t*>(digest.data()), length);
      require(digest == expected[i], "a wrong digest");
    }
  }

  static void check_many(const accel::Sha3Kind& kind, size_t length, accel::Cpu level,
                         const std::vector<std::string>& messages, const std::vector<std::string>& expected) {
    std::vector<Exact> inputs, outputs;
    std::vector<accel::Sha3Message> many;
    for (const std::string& message : messages) {
      inputs.emplace_back(message);
      outputs.emplace_back(std::string(length, '\0'));
      many.push_back({inputs.back().bytes.get(), message.size(), outputs.back().bytes.get()});
    }
    accel::sha3_many(kind, length, level, many);
    for (size_t i = 0; i < messages.size(); ++i) {
      require(std::equal(expected[i].begin(), expected[i].end(), reinterpret_cast<const char*>(outputs[i].bytes.get())),
              "a wrong digest among many");
    }
  }

  void check_folder(const accel::Sha3Kind& kind, size_t length, accel::Cpu level, const std::vector<std::string>& messages,
                    const std::vector<std::string>& expected) {
    accel::Sha3Folder folder(kind, length, level);
    std::vector<std::string> found;
    run_regions(folder, make_tar(messages), 1 + below(20'000), &found);
    require(found.size() == messages.size(), "a wrong number of files");
    for (size_t i = 0; i < found.size(); ++i) {
      require(found[i] == "f" + std::to_string(i) + "=" + expected[i], "a wrong digest in a folder");
    }
  }

  // As the driver does: cut and planned in order, hashed on any thread once begun in order.
  void run_regions(accel::Sha3Folder& folder, const std::string& stream, size_t region_size, std::vector<std::string>* found) {
    struct Running {
      Exact bytes;
      std::unique_ptr<accel::Sha3Region> region;
      std::thread thread;
    };
    std::vector<std::unique_ptr<Running>> running;
    const auto join = [&] {
      for (const auto& one : running) {
        if (one->thread.joinable()) one->thread.join();
      }
    };
    try {
      for (size_t at = 0; at < stream.size();) {
        const Exact window(stream.data() + at, std::min(region_size, stream.size() - at));
        const size_t size = at + window.size < stream.size() ? folder.cut(window.bytes.get(), window.size) : window.size;
        require(size > 0 && size <= window.size, "a cut outside its window");
        auto one = std::make_unique<Running>(Running{Exact(stream.data() + at, size), nullptr, {}});
        one->region = folder.plan(one->bytes.bytes.get(), size);
        Running& started = *one;
        started.thread = std::thread([&started] { started.region->run(started.bytes.bytes.get()); });
        running.push_back(std::move(one));
        if (running.size() % 16 == 0) join();
        at += size;
      }
      folder.finish();
    } catch (const accel::TarStreamError&) {
      join();
      throw;
    }
    join();
    if (found == nullptr) return;
    for (const auto& one : running) {
      for (const auto& digest : one->region->digests()) {
        found->push_back(digest.path + "=" + std::string(reinterpret_cast<const char*>(digest.bytes), folder.digest_size()));
      }
    }
  }

  static void sign(std::string& stream, size_t at) {
    std::fill_n(stream.begin() + static_cast<long>(at) + 148, 8, ' ');
    unsigned sum = 0;
    for (size_t i = at; i < at + 512; ++i) sum += static_cast<uint8_t>(stream[i]);
    std::snprintf(stream.data() + at + 148, 8, "%06o", sum);
  }

  void add(std::string& stream, char type, const std::string& path, const std::string& data, uint64_t size) {
    std::string block(512, '\0');
    path.copy(block.data(), 100);
    if (below(2)) {
      std::snprintf(block.data() + 124, 12, "%011llo", static_cast<unsigned long long>(size));
    } else {
      block[124] = static_cast<char>(0x80);
      for (int i = 0; i < 8; ++i) block[static_cast<size_t>(135 - i)] = static_cast<char>(size >> (8 * i));
    }
    block[156] = type;
    std::memcpy(block.data() + 257, below(2) ? "ustar\0" "00" : "ustar  ", 8);
    sign(block, 0);
    stream += block + data + std::string((512 - data.size() % 512) % 512, '\0');
  }

  void add_extension(std::string& stream, char type, const std::string& data) {
    add(stream, type, "extension", data, data.size());
  }

  static std::string record(const std::string& key, const std::string& value) {
    const std::string rest = " " + key + "=" + value + "\n";
    size_t length = rest.size() + 1;
    while (std::to_string(length).size() + rest.size() != length) ++length;
    return std::to_string(length) + rest;
  }

  // Files f0, f1, ... in all the ways of saying so, among members that are none.
  std::string make_tar(const std::vector<std::string>& messages) {
    std::string stream;
    for (size_t i = 0; i < messages.size(); ++i) {
      const std::string path = "f" + std::to_string(i), &data = messages[i];
      if (below(4) == 0) add(stream, '5', "folder/", "", 0);
      if (below(8) == 0) add(stream, '2', "link", "", 77);
      if (below(8) == 0) add_extension(stream, 'g', record("comment", "path=x"));
      switch (below(4)) {
        case 0:
          add_extension(stream, 'L', path + std::string(1, '\0'));
          add(stream, '0', "other", data, data.size());
          break;
        case 1:
          add_extension(stream, 'x', record("mtime", "1.5") + record("path", path));
          add(stream, '0', "other", data, data.size());
          break;
        case 2:
          add_extension(stream, 'x', record("size", std::to_string(data.size())));
          add(stream, '7', path, data, 1);
          break;
        default:
          add(stream, below(2) ? '0' : '\0', path, data, data.size());
      }
    }
    return stream + std::string(1024 + below(3) * 512, '\0');
  }

  std::mt19937_64 random_;
  uint64_t read_ = 0, refused_ = 0;
};

}  // namespace

int main(int count, char** arguments) {
  FuzzRun run(count, arguments);
  Fuzzer fuzzer(run.seed());
  while (run.next_round()) {
    fuzzer.round();
    for (int i = 0; i < 20; ++i) fuzzer.round_of_damage();
  }
  std::printf("fuzz_sha3: seed %llu, %llu rounds, %llu damaged streams read, %llu refused\n",
              run.seed(), run.rounds(),
              static_cast<unsigned long long>(fuzzer.read()), static_cast<unsigned long long>(fuzzer.refused()));
}
