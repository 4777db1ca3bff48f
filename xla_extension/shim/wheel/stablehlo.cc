// HLO to StableHLO text, behind the calls that xla-rs makes (see include/xla/hlo/translate).
#include "xla/hlo/translate/stablehlo.h"

#include <memory>
#include <utility>

#include "xla/debug_options_flags.h"

namespace xla {
inline namespace onetrace_stand_in {

absl::StatusOr<StablehloText> ConvertHloToStablehlo(mlir::MLIRContext&,
                                                    const HloModuleProto* proto) {
  absl::StatusOr<HloModuleConfig> config =
      HloModule::CreateModuleConfigFromProto(*proto, GetDebugOptionsFromFlags());
  if (!config.ok()) return config.status();
  absl::StatusOr<std::unique_ptr<HloModule>> module = HloModule::CreateFromProto(*proto, *config);
  if (!module.ok()) return module.status();
  absl::StatusOr<std::string> text = xla::ConvertHloToStablehlo(**module, /*emit_mhlo=*/false);
  if (!text.ok()) return text.status();
  return StablehloText(*std::move(text));
}

}  // namespace onetrace_stand_in
}  // namespace xla
