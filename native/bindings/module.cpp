// The extension module acceleratorAPI.native._kernels.
#include "hyperfire.hpp"

NB_MODULE(_kernels, m) {
  m.doc() = "Native kernels of acceleratorAPI.";
  bind_hyperfire(m);
}
