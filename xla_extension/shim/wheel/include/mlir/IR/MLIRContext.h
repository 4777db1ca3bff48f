// Stand-in: the wheel leaves out MLIR's headers. xla-rs only makes a context and hands it on.
#pragma once

namespace mlir {
class MLIRContext {};
}  // namespace mlir
