// Panels: a matrix [k, 32 p] in the order [p, k, 32]. A panel has 32 columns, row after row.
#ifndef ONETRACE_PANELS_H_
#define ONETRACE_PANELS_H_

#include <cstddef>
#include <cstdint>

#include "ffi_handler.h"

namespace onetrace {

// The columns of a panel: two vectors of 512 bits.
constexpr int64_t kColumns = 32;

// A vector of the processor, and the same in memory, where it may begin at any float.
template <int Elements>
struct Vector {
  typedef float Value __attribute__((vector_size(4 * Elements)));
  typedef float Stored __attribute__((vector_size(4 * Elements), aligned(4), may_alias));
};

// Registers a kernel that multiplies with them. Returns whether XLA took it, and the processor has
// what it needs.
inline bool register_kernel(const char* name, size_t name_size, XLA_FFI_Handler* handler) {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         register_handler(name, name_size, handler);
}

}  // namespace onetrace

#endif  // ONETRACE_PANELS_H_
