// Stand-in: the wheel leaves out MLIR's headers. XLA's headers name this class, and we have none.
#pragma once

namespace mlir {
class DictionaryAttr;
}  // namespace mlir
