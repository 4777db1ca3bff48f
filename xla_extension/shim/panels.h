// Panels: a matrix [k, 32 p] in the order [p, k, 32]. A panel has 32 columns, row after row.
#ifndef ONETRACE_PANELS_H_
#define ONETRACE_PANELS_H_

#include <cstdint>

namespace onetrace {

// The columns of a panel: two vectors of 512 bits.
constexpr int64_t kColumns = 32;

}  // namespace onetrace

#endif  // ONETRACE_PANELS_H_
