// Stand-in: the wheel leaves out MLIR's headers. Nothing we compile makes an OwningOpRef.
#pragma once

namespace mlir {
template <typename OpTy>
class OwningOpRef;
}  // namespace mlir
