// The rounds of Keccak-p[1600, 24] and the absorbing loop, written once for every kind of lane. Step mappings theta,
// rho, pi, chi and iota, rotations and round constants: FIPS 202, sections 3.2.1 to 3.2.5.
//
// A file that includes this (inside a namespace of its own) has defined
//   KECCAK_TARGET           attributes of every function here: a template takes the CPU's features from nowhere else
//   Lane                    one word of kLanes independent states
//   rotl<n>, xor2, xor3     on lanes; rotl<0> is the identity
//   chi(a, b, c)            a ^ (~b & c)
//   every(word)             the same word in all states
//   load, store             a lane from and to kLanes words of memory
//   Input                   made of (data, rate_words); word(i) is word i of the block, next() goes to the one behind
//
// The arrays of lanes are arrays only here: every index is a constant, so that they become registers.


constexpr int kRotations[kKeccakWords] = {0,  1,  62, 28, 27, 36, 44, 6,  55, 20, 3,  10, 43,
                                          25, 39, 41, 45, 15, 21, 8,  18, 2,  61, 56, 14};

constexpr int kRounds = 24;
constexpr uint64_t kRoundConstants[kRounds] = {
    0x0000000000000001, 0x0000000000008082, 0x800000000000808A, 0x8000000080008000, 0x000000000000808B,
    0x0000000080000001, 0x8000000080008081, 0x8000000000008009, 0x000000000000008A, 0x0000000000000088,
    0x0000000080008009, 0x000000008000000A, 0x000000008000808B, 0x800000000000008B, 0x8000000000008089,
    0x8000000000008003, 0x8000000000008002, 0x8000000000000080, 0x000000000000800A, 0x800000008000000A,
    0x8000000080008081, 0x8000000000008080, 0x0000000080000001, 0x8000000080008008};

// The lane that pi moves to (X, Y), after theta and rho. Lane (x, y) is a[x + 5 * y].
template <int X, int Y>
KECCAK_INLINE Lane moved(const Lane* a, const Lane* theta) {
  constexpr int x = (X + 3 * Y) % 5, from = x + 5 * X;
  return rotl<kRotations[from]>(xor2(a[from], theta[x]));
}

template <int Y>
KECCAK_INLINE void row(const Lane* a, const Lane* theta, Lane* to) {
  const Lane b0 = moved<0, Y>(a, theta), b1 = moved<1, Y>(a, theta), b2 = moved<2, Y>(a, theta),
             b3 = moved<3, Y>(a, theta), b4 = moved<4, Y>(a, theta);
  to[5 * Y] = chi(b0, b1, b2);
  to[5 * Y + 1] = chi(b1, b2, b3);
  to[5 * Y + 2] = chi(b2, b3, b4);
  to[5 * Y + 3] = chi(b3, b4, b0);
  to[5 * Y + 4] = chi(b4, b0, b1);
}

template <int X>
KECCAK_INLINE Lane upper_parity(const Lane* a) {
  return xor3(a[X], a[X + 5], a[X + 10]);
}

template <int X>
KECCAK_INLINE Lane lower_parity(Lane upper, const Lane* a) {
  return xor3(upper, a[X + 15], a[X + 20]);
}

// One round from `a` to `to`. The parities of the columns are handed from round to round, the first three rows of the
// next ones added up while the last two are made: the sums are what every round waits for.
KECCAK_INLINE void round(const Lane* a, Lane* to, Lane* parity, uint64_t constant) {
  const Lane theta[5] = {xor2(parity[4], rotl<1>(parity[1])), xor2(parity[0], rotl<1>(parity[2])),
                         xor2(parity[1], rotl<1>(parity[3])), xor2(parity[2], rotl<1>(parity[4])),
                         xor2(parity[3], rotl<1>(parity[0]))};
  row<0>(a, theta, to);
  to[0] = xor2(to[0], every(constant));
  row<1>(a, theta, to);
  row<2>(a, theta, to);
  const Lane upper[5] = {upper_parity<0>(to), upper_parity<1>(to), upper_parity<2>(to), upper_parity<3>(to),
                         upper_parity<4>(to)};
  row<3>(a, theta, to);
  row<4>(a, theta, to);
  parity[0] = lower_parity<0>(upper[0], to);
  parity[1] = lower_parity<1>(upper[1], to);
  parity[2] = lower_parity<2>(upper[2], to);
  parity[3] = lower_parity<3>(upper[3], to);
  parity[4] = lower_parity<4>(upper[4], to);
}

KECCAK_INLINE void permute(Lane (&a)[kKeccakWords]) {
  Lane other[kKeccakWords];
  Lane parity[5] = {
      lower_parity<0>(upper_parity<0>(a), a), lower_parity<1>(upper_parity<1>(a), a),
      lower_parity<2>(upper_parity<2>(a), a), lower_parity<3>(upper_parity<3>(a), a),
      lower_parity<4>(upper_parity<4>(a), a),
  };
  for (int i = 0; i < kRounds; i += 2) {
    round(a, other, parity, kRoundConstants[i]);
    round(other, a, parity, kRoundConstants[i + 1]);
  }
}

template <int Begin, int End>
KECCAK_INLINE void mix_in(Lane (&a)[kKeccakWords], const Input& input) {
  if constexpr (Begin < End) {
    a[Begin] = xor2(a[Begin], input.word(Begin));
    mix_in<Begin + 1, End>(a, input);
  }
}

template <int I>
KECCAK_INLINE void load_from(Lane (&a)[kKeccakWords], const uint64_t* state) {
  if constexpr (I < static_cast<int>(kKeccakWords)) {
    a[I] = load(state + I * kLanes);
    load_from<I + 1>(a, state);
  }
}

template <int I>
KECCAK_INLINE void store_to(uint64_t* state, const Lane (&a)[kKeccakWords]) {
  if constexpr (I < static_cast<int>(kKeccakWords)) {
    store(state + I * kLanes, a[I]);
    store_to<I + 1>(state, a);
  }
}

// As `Absorb`. The state stays in registers from block to block.
KECCAK_INLINE void absorb(uint64_t* state, const uint8_t* const* data, size_t rate_words, size_t blocks) {
  Lane a[kKeccakWords];
  load_from<0>(a, state);
  Input input(data, rate_words);
  for (; blocks != 0; --blocks) {
    mix_in<0, 9>(a, input);
    if (rate_words > 9) {
      mix_in<9, 13>(a, input);
      if (rate_words > 13) {
        mix_in<13, 17>(a, input);
        if (rate_words > 17) {
          mix_in<17, 18>(a, input);
          if (rate_words > 18) mix_in<18, 21>(a, input);
        }
      }
    }
    permute(a);
    input.next(blocks > 1);
  }
  store_to<0>(state, a);
}

