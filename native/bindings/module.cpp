// The extension module acceleratorAPI.native._kernels.
#include "entropy.hpp"
#include "hyperfire.hpp"

NB_MODULE(_kernels, m) {
  m.doc() = "Native kernels of acceleratorAPI.";
  bind_entropy(m);
  bind_hyperfire(m);
}
