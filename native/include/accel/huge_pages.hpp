// Memory for tables that are read at random places: in pages of 2 MiB where the system has them, so that a read
// costs no walk of the page table. What stands in it is not here.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <new>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace accel {

constexpr size_t kHugePage = size_t{2} << 20;

template <class T>
struct HugePages {
  using value_type = T;
  HugePages() = default;
  template <class U>
  HugePages(const HugePages<U>&) {}

  T* allocate(size_t count) {
    size_t bytes = count * sizeof(T);
    const bool huge = bytes >= 2 * kHugePage;
    const size_t alignment = huge ? kHugePage : std::max(alignof(std::max_align_t), alignof(T));
    bytes = (bytes + alignment - 1) & ~(alignment - 1);
    void* const memory = std::aligned_alloc(alignment, bytes);
    if (!memory) throw std::bad_alloc();
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (huge) ::madvise(memory, bytes, MADV_HUGEPAGE);  // a wish: refused, the table works as well, only slower
#endif
    return static_cast<T*>(memory);
  }
  void deallocate(T* memory, size_t) { std::free(memory); }

  template <class U>
  bool operator==(const HugePages<U>&) const { return true; }
  template <class U>
  bool operator!=(const HugePages<U>&) const { return false; }
};

template <class T>
using Table = std::vector<T, HugePages<T>>;

}  // namespace accel
