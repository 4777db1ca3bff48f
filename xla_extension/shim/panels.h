// Panels: a matrix [k, 32 p] in the order [p, k, 32]. A panel has 32 columns, row after row.
#ifndef ONETRACE_PANELS_H_
#define ONETRACE_PANELS_H_

#include <cstdint>

namespace onetrace {

// The columns of a panel: two vectors of 512 bits.
constexpr int64_t kColumns = 32;

// A vector of the processor, and the same in memory, where it may begin at any float.
template <int Elements>
struct Vector {
  typedef float Value __attribute__((vector_size(4 * Elements)));
  typedef float Stored __attribute__((vector_size(4 * Elements), aligned(4), may_alias));
};

}  // namespace onetrace

#endif  // ONETRACE_PANELS_H_
