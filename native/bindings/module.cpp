// The extension module acceleratorAPI.native._kernels.
#include "buffers.hpp"
#include "folder.hpp"
#include "hyperfire.hpp"

NB_MODULE(_kernels, m) {
  m.doc() = "Native kernels of acceleratorAPI.";
  bind_buffers(m);
  bind_folder(m);
  bind_hyperfire(m);
}
