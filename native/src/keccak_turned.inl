// The blocks of several messages, turned so that each register has the same word of all of them. Included once for
// each implementation, in a namespace that has `Lane`, `kLanes`, and these two:
//   turn_square(data, i, words): the kLanes words from the i-th on of kLanes messages;
//   column(data, i): the i-th word of each.

class Input {
 public:
  KECCAK_INLINE Input(const uint8_t* const* data, size_t rate_words) : rate_words_(rate_words) {
    for (size_t i = 0; i < kLanes; ++i) data_[i] = data[i];
    turn();
  }
  KECCAK_INLINE Lane word(size_t i) const { return words_[i]; }
  KECCAK_INLINE void next(bool more) {
    if (!more) return;
    for (const uint8_t*& data : data_) data += 8 * rate_words_;
    turn();
  }

 private:
  KECCAK_INLINE void turn() {
    size_t i = 0;
    for (; i + kLanes <= rate_words_; i += kLanes) turn_square(data_, i, words_ + i);
    for (; i < rate_words_; ++i) words_[i] = column(data_, i);
  }

  const uint8_t* data_[kLanes];
  size_t rate_words_;
  Lane words_[kMostRateWords];
};
