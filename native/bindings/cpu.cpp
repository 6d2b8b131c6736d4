// The Python face of the choice of implementations.
#include "cpu.hpp"

#include "accel/cpu.hpp"
#include "accel/keccak.hpp"
#include "accel/replace.hpp"
#include "accel/word_edges.hpp"

namespace nb = nanobind;

void bind_cpu(nb::module_& m) {
  accel::cpu_level();  // a wrong $ACCELERATORAPI_CPU is an error here and now
  m.def("cpu_level", [] { return accel::cpu_name(accel::cpu_level()); });
  m.def("cpu_of_machine", [] { return accel::cpu_name(accel::cpu_of_machine()); });
  m.def("paths", [] {
    nb::dict paths;
    paths["finding words"] = accel::edges_path().name;
    paths["replacing words"] = accel::replacing_path();
    paths["SHA-3 of one message"] = accel::keccak_for_one(accel::cpu_level()).name;
    paths["SHA-3 of many messages"] = accel::keccak_for_many(accel::cpu_level()).name;
    return paths;
  });
}
