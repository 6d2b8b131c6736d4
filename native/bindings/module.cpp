// The extension module acceleratorAPI.native._kernels.
#include "buffers.hpp"
#include "cpu.hpp"
#include "entropy.hpp"
#include "folder.hpp"
#include "hyperfire.hpp"
#include "search.hpp"
#include "sha3.hpp"

NB_MODULE(_kernels, m) {
  m.doc() = "Native kernels of acceleratorAPI.";
  bind_buffers(m);
  bind_cpu(m);
  bind_entropy(m);
  bind_folder(m);
  bind_hyperfire(m);
  bind_search(m);
  bind_sha3(m);
}
