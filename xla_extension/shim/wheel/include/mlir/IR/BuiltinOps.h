// Stand-in: the wheel leaves out MLIR's headers. XLA's virtual functions take a ModuleOp by value,
// so that this type must keep the real one's layout: a single pointer.
#pragma once

namespace mlir {
class Operation;

class ModuleOp {
 public:
  Operation* state = nullptr;
};
}  // namespace mlir
