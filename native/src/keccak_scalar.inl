// Lanes that are plain 64-bit words, for files that have defined KECCAK_TARGET.

using Lane = uint64_t;
constexpr size_t kLanes = 1;

#define SCALAR KECCAK_TARGET __attribute__((always_inline)) inline

template <int N>
SCALAR Lane rotl(Lane lane) {
  return N == 0 ? lane : (lane << N) | (lane >> ((64 - N) % 64));
}
SCALAR Lane xor2(Lane a, Lane b) { return a ^ b; }
SCALAR Lane xor3(Lane a, Lane b, Lane c) { return a ^ b ^ c; }
SCALAR Lane chi(Lane a, Lane b, Lane c) { return a ^ (~b & c); }
SCALAR Lane every(uint64_t word) { return word; }
SCALAR Lane load(const uint64_t* from) { return *from; }
SCALAR void store(uint64_t* to, Lane lane) { *to = lane; }

class Input {
 public:
  SCALAR Input(const uint8_t* const* data, size_t rate_words) : block_(data[0]), size_(8 * rate_words) {}
  SCALAR Lane word(size_t i) const {
    Lane word;
    std::memcpy(&word, block_ + 8 * i, 8);
    return word;
  }
  SCALAR void next(bool) { block_ += size_; }

 private:
  const uint8_t* block_;
  size_t size_;
};

#undef SCALAR
