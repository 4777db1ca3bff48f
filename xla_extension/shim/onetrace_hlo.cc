// C functions over HLO modules: between their text, their protocol buffer and its text. The bytes
// that a function gives through `out` and `out_size` are freed with `onetrace_free`.

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/tokenizer.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "google/protobuf/text_format.h"
#include "guarded.h"
#include "xla/debug_options_flags.h"
#include "xla/hlo/ir/hlo_module.h"
#include "xla/hlo/ir/hlo_print_options.h"
#include "xla/hlo/parser/hlo_parser.h"
#include "xla/service/hlo.pb.h"
#include "xla/service/hlo_verifier.h"

using onetrace::copy;
using onetrace::guarded;
using xla::HloModule;
using xla::HloModuleProto;

namespace {

using OwnedModule = std::unique_ptr<HloModule>;

absl::Status give(absl::string_view bytes, char** out, size_t* out_size) {
  *out = copy(bytes);
  *out_size = bytes.size();
  return absl::OkStatus();
}

// The same message gives the same bytes, also where it has maps.
absl::Status give(const google::protobuf::Message& message, char** out, size_t* out_size) {
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    if (!message.SerializeToCodedStream(&coded)) {
      return absl::ResourceExhaustedError("the module is too large for a protocol buffer");
    }
  }
  return give(bytes, out, out_size);
}

absl::Status read_proto(const char* bytes, size_t size, HloModuleProto* proto) {
  if (proto->ParseFromString(absl::string_view(bytes, size))) return absl::OkStatus();
  return absl::InvalidArgumentError("not a HloModuleProto");
}

absl::StatusOr<OwnedModule> read_module(const char* bytes, size_t size) {
  HloModuleProto proto;
  absl::Status read = read_proto(bytes, size, &proto);
  if (!read.ok()) return read;
  auto config = HloModule::CreateModuleConfigFromProto(proto, xla::GetDebugOptionsFromFlags());
  if (!config.ok()) return config.status();
  return HloModule::CreateFromProto(proto, *config);
}

// Keeps the first error.
class FirstError : public google::protobuf::io::ErrorCollector {
 public:
  void RecordError(int line, google::protobuf::io::ColumnNumber column,
                   absl::string_view message) override {
    if (text.empty()) text = absl::StrCat("line ", line + 1, ": ", message);
  }
  std::string text;
};

absl::Status parse_pbtxt(absl::string_view text, google::protobuf::Message* message) {
  FirstError error;
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&error);
  parser.SetRecursionLimit(100);
  if (parser.ParseFromString(text, message)) return absl::OkStatus();
  return absl::InvalidArgumentError(error.text);
}

}  // namespace

extern "C" {

void onetrace_free(void* bytes) { std::free(bytes); }

// HLO text to a HloModuleProto.
char* onetrace_hlo_from_text(const char* text, size_t size, char** out, size_t* out_size) {
  return guarded([&]() -> absl::Status {
    xla::HloParserOptions options;
    // Constants that were left out become zeros. Otherwise they differ from one reading to the next.
    options.set_fill_shortform_constants_with_random_values(false);
    auto module = xla::ParseAndReturnUnverifiedModule(absl::string_view(text, size),
                                                      xla::HloModuleConfig(), options);
    if (!module.ok()) return module.status();
    return give((*module)->ToProto(), out, out_size);
  });
}

// The text form of a HloModuleProto, or of a HloProto with one in it, to a HloModuleProto.
char* onetrace_hlo_from_pbtxt(const char* text, size_t size, bool is_hlo_proto, char** out,
                              size_t* out_size) {
  return guarded([&]() -> absl::Status {
    xla::HloProto proto;
    google::protobuf::Message* message = &proto;
    if (!is_hlo_proto) message = proto.mutable_hlo_module();
    absl::Status parsed = parse_pbtxt(absl::string_view(text, size), message);
    if (!parsed.ok()) return parsed;
    return give(proto.hlo_module(), out, out_size);
  });
}

// Whether this version of XLA can read a HloModuleProto; with `verify`, also whether every
// instruction has the type that its operands give it.
char* onetrace_hlo_check(const char* bytes, size_t size, bool verify) {
  return guarded([&]() -> absl::Status {
    auto module = read_module(bytes, size);
    if (!module.ok() || !verify) return module.status();
    xla::HloVerifier verifier(/*layout_sensitive=*/false, /*allow_mixed_precision=*/true);
    return verifier.Run(module->get()).status();
  });
}

// A HloModuleProto to HLO text.
char* onetrace_hlo_to_text(const char* bytes, size_t size, bool full_constants, bool metadata,
                           char** out, size_t* out_size) {
  return guarded([&]() -> absl::Status {
    auto module = read_module(bytes, size);
    if (!module.ok()) return module.status();
    xla::HloPrintOptions options = xla::HloPrintOptions::Default();
    options.set_print_large_constants(full_constants);
    options.set_print_metadata(metadata);
    return give((*module)->ToString(options), out, out_size);
  });
}

// A HloModuleProto to its text form.
char* onetrace_hlo_to_pbtxt(const char* bytes, size_t size, char** out, size_t* out_size) {
  return guarded([&]() -> absl::Status {
    HloModuleProto proto;
    absl::Status read = read_proto(bytes, size, &proto);
    if (!read.ok()) return read;
    std::string text;
    if (!google::protobuf::TextFormat::PrintToString(proto, &text)) {
      return absl::ResourceExhaustedError("the module is too large to be printed");
    }
    return give(text, out, out_size);
  });
}

}  // extern "C"
