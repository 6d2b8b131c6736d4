// Word edges by bit masks: 64 bytes become one mask of word characters, its edges one list of positions.
// The nibble classification is the table method of vectorised scanners (Langdale and Lemire, "Parsing
// gigabytes of JSON per second", 2019, section 3.1.2).
#include "accel/word_edges.hpp"

#include <cstring>

#include "accel/cpu.hpp"

#if defined(__x86_64__)
#include <immintrin.h>

#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 finds its own header's "undefined" registers uninitialized (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#endif

namespace accel {
namespace {

constexpr size_t kStride = 64;

uint64_t changes_of(uint64_t words, bool& inside) {
  const uint64_t changes = words ^ ((words << 1) | static_cast<uint64_t>(inside));
  inside = (words >> 63) != 0;
  return changes;
}

uint32_t* write_edges(uint64_t changes, uint32_t base, uint32_t* edges) {
  for (; changes != 0; changes &= changes - 1) {
    *edges++ = base + static_cast<uint32_t>(__builtin_ctzll(changes));
  }
  return edges;
}

uint64_t word_mask_portable(const uint8_t* text) {
  uint64_t mask = 0;
  for (size_t i = 0; i < kStride; ++i) mask |= static_cast<uint64_t>(is_word(text[i])) << i;
  return mask;
}

#if defined(__x86_64__)

__attribute__((target("avx2"), always_inline)) inline uint32_t word_mask32(__m256i bytes) {
  // Per low nibble, the groups of high nibbles in which that byte is a word character:
  // 1 = digits (3_), 2 = A-O and a-o (4_, 6_), 4 = P-Z and underscore (5_), 8 = p-z (7_).
  const __m256i low = _mm256_setr_epi8(13, 15, 15, 15, 15, 15, 15, 15, 15, 15, 14, 2, 2, 2, 2, 6,  //
                                       13, 15, 15, 15, 15, 15, 15, 15, 15, 15, 14, 2, 2, 2, 2, 6);
  const __m256i high = _mm256_setr_epi8(0, 0, 0, 1, 2, 4, 2, 8, 0, 0, 0, 0, 0, 0, 0, 0,  //
                                        0, 0, 0, 1, 2, 4, 2, 8, 0, 0, 0, 0, 0, 0, 0, 0);
  const __m256i high_nibbles = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), _mm256_set1_epi8(15));
  // A byte >= 0x80 selects zero in the first lookup: its top bit says so to the instruction.
  const __m256i groups = _mm256_and_si256(_mm256_shuffle_epi8(low, bytes), _mm256_shuffle_epi8(high, high_nibbles));
  const __m256i none = _mm256_cmpeq_epi8(groups, _mm256_setzero_si256());
  return ~static_cast<uint32_t>(_mm256_movemask_epi8(none));
}

// For each byte below 0x80, its top bit set if it is a word character; and the numbers 0 to 63.
struct WordBytes {
  uint8_t marks[128], places[kStride];
  constexpr WordBytes() : marks(), places() {
    for (size_t c = 0; c < 128; ++c) marks[c] = detail::kWordTable.is_word[c] ? 0x80 : 0;
    for (size_t i = 0; i < kStride; ++i) places[i] = static_cast<uint8_t>(i);
  }
};
constexpr WordBytes kWordBytes;

// The positions of the bits of a byte, in order, and how many there are.
struct BitPositions {
  uint8_t positions[256][8];
  uint8_t count[256];
  constexpr BitPositions() : positions(), count() {
    for (unsigned byte = 0; byte < 256; ++byte) {
      for (uint8_t bit = 0; bit < 8; ++bit) {
        if ((byte >> bit) & 1) positions[byte][count[byte]++] = bit;
      }
    }
  }
};
alignas(64) constexpr BitPositions kBitPositions;

// Eight positions are written for every byte of the mask, and as many kept as it has bits: no branch, no guess.
__attribute__((target("avx2"), always_inline)) inline uint32_t* write_edges_avx2(uint64_t changes, uint32_t base,
                                                                                 uint32_t* edges) {
#pragma GCC unroll 8
  for (uint32_t i = 0; i < kStride; i += 8, changes >>= 8) {
    const auto byte = static_cast<uint8_t>(changes);
    const auto* const positions = reinterpret_cast<const __m128i*>(kBitPositions.positions[byte]);
    const __m256i wide = _mm256_cvtepu8_epi32(_mm_loadl_epi64(positions));
    const __m256i moved = _mm256_add_epi32(wide, _mm256_set1_epi32(static_cast<int>(base + i)));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(edges), moved);
    edges += kBitPositions.count[byte];
  }
  return edges;
}

__attribute__((target("avx2"))) uint32_t* find_edges_avx2(const uint8_t* text, size_t size, uint32_t base, bool& inside,
                                                          uint32_t* edges) {
  bool in = inside;
  size_t i = 0;
  for (; i + kStride <= size; i += kStride) {
    const uint64_t first = word_mask32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(text + i)));
    const uint64_t second = word_mask32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(text + i + 32)));
    const uint64_t changes = changes_of(first | (second << 32), in);
    edges = write_edges_avx2(changes, base + static_cast<uint32_t>(i), edges);
  }
  inside = in;
  return find_edges_portable(text + i, size - i, base + static_cast<uint32_t>(i), inside, edges);
}

// The places of the set bits of `changes` by one instruction, and the word characters by one lookup of seven bits.
__attribute__((target("avx512f,avx512bw,avx512vbmi,avx512vbmi2,bmi,popcnt"))) uint32_t* find_edges_avx512(
    const uint8_t* text, size_t size, uint32_t base, bool& inside, uint32_t* edges) {
  const __m512i low = _mm512_loadu_si512(kWordBytes.marks), high = _mm512_loadu_si512(kWordBytes.marks + kStride);
  const __m512i places = _mm512_loadu_si512(kWordBytes.places);
  bool in = inside;
  size_t i = 0;
  for (; i + kStride <= size; i += kStride) {
    const __m512i bytes = _mm512_loadu_si512(text + i);
    // A byte from 0x80 on gets the mark of the one 0x80 below, and loses it for its own top bit.
    const __m512i marks = _mm512_andnot_si512(bytes, _mm512_permutex2var_epi8(low, bytes, high));
    const uint64_t changes = changes_of(_mm512_movepi8_mask(marks), in);
    const __m512i found = _mm512_maskz_compress_epi8(changes, places);
    const __m512i start = _mm512_set1_epi32(static_cast<int>(base + i));
    const auto count = static_cast<size_t>(__builtin_popcountll(changes));
    const auto write = [&](size_t at, __m128i part) __attribute__((target("avx512f"), always_inline)) {
      _mm512_storeu_si512(edges + at, _mm512_add_epi32(_mm512_cvtepu8_epi32(part), start));
    };
    write(0, _mm512_castsi512_si128(found));
    write(16, _mm512_extracti32x4_epi32(found, 1));
    if (__builtin_expect(count > 32, 0)) {
      write(32, _mm512_extracti32x4_epi32(found, 2));
      write(48, _mm512_extracti32x4_epi32(found, 3));
    }
    edges += count;
  }
  inside = in;
  return find_edges_portable(text + i, size - i, base + static_cast<uint32_t>(i), inside, edges);
}

#endif

}  // namespace

uint32_t* find_edges_portable(const uint8_t* text, size_t size, uint32_t base, bool& inside, uint32_t* edges) {
  size_t i = 0;
  for (; i + kStride <= size; i += kStride) {
    edges = write_edges(changes_of(word_mask_portable(text + i), inside), base + static_cast<uint32_t>(i), edges);
  }
  if (i < size) {
    uint8_t rest[kStride] = {};
    std::memcpy(rest, text + i, size - i);
    edges = write_edges(changes_of(word_mask_portable(rest), inside), base + static_cast<uint32_t>(i), edges);
  }
  return edges;
}

EdgesPath edges_path() {
#if defined(__x86_64__)
  // Not part of the level: AVX-512 began without these.
  const bool compresses_bytes = __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vbmi2");
  if (cpu_level() >= Cpu::avx512 && compresses_bytes) return {find_edges_avx512, "avx512"};
  if (cpu_level() >= Cpu::avx2) return {find_edges_avx2, "avx2"};
#endif
  return {find_edges_portable, "portable"};
}

}  // namespace accel
