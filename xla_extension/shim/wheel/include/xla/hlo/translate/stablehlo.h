// Stand-in for XLA's header of this name, which needs MLIR: the conversion that xla-rs calls, as text.
#pragma once

#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "llvm/Support/raw_ostream.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/OwningOpRef.h"
#include "xla/hlo/ir/hlo_module.h"
#include "xla/service/hlo.pb.h"

namespace xla {

// Exported by the library, declared in none of the wheel's headers.
absl::StatusOr<std::string> ConvertHloToStablehlo(const HloModule& module, bool emit_mhlo);

// The library exports functions of the same names and arguments that return MLIR's own types. The
// inline namespace gives ours other symbol names.
inline namespace onetrace_stand_in {

// Plays the part of OwningOpRef<ModuleOp>: `module->print(stream)`.
class StablehloText {
 public:
  explicit StablehloText(std::string text) : text_(std::move(text)) {}
  const StablehloText* operator->() const { return this; }
  void print(llvm::raw_string_ostream& out) const { out << text_; }

 private:
  std::string text_;
};

absl::StatusOr<StablehloText> ConvertHloToStablehlo(mlir::MLIRContext& context,
                                                    const HloModuleProto* proto);

}  // namespace onetrace_stand_in
}  // namespace xla
