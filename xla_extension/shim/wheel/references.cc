// Linked into every program that uses XLA. Linkers leave out a library that nothing refers to: this
// refers to the one that keeps TensorFlow quiet, and to the one with the executor of tasks.
#include <cstdint>

extern "C" void onetrace_quiet();
extern "C" int64_t onetrace_loops_in_order();

__attribute__((constructor)) static void Refer() {
  onetrace_quiet();
  onetrace_loops_in_order();
}
