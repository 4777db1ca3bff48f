// What compiled programs call back: one handler of XLA's foreign function interface (FFI), which
// hands the text and the operands of the call on to Rust. The interface is plain C.

#include <cstdint>
#include <string>
#include <vector>

#include "xla/ffi/api/c_api.h"

namespace xla::ffi {
const XLA_FFI_Api* GetXlaFfiApi();
}

namespace {

struct Operand {
  int32_t primitive_type;
  const void* data;
  const int64_t* dims;
  size_t rank;
};

// Returns false if there is no such call, or if the operands are not what it takes.
using Called = bool (*)(const char* text, size_t size, const Operand* operands, size_t count);

Called called = nullptr;

// The attribute called "call", which is the only one, or null.
const XLA_FFI_ByteSpan* text_of(const XLA_FFI_Attrs& attrs) {
  bool found = attrs.size == 1 && attrs.types[0] == XLA_FFI_AttrType_STRING &&
               std::string(attrs.names[0]->ptr, attrs.names[0]->len) == "call";
  return found ? static_cast<const XLA_FFI_ByteSpan*>(attrs.attrs[0]) : nullptr;
}

XLA_FFI_Error* error(const XLA_FFI_Api* api, const char* message) {
  XLA_FFI_Error_Create_Args args{};
  args.struct_size = XLA_FFI_Error_Create_Args_STRUCT_SIZE;
  args.message = message;
  args.errc = XLA_FFI_Error_Code_INVALID_ARGUMENT;
  return api->XLA_FFI_Error_Create(&args);
}

XLA_FFI_Error* handle(XLA_FFI_CallFrame* frame) {
  // When a handler is registered, XLA asks for the version that it was made for.
  for (auto* extension = frame->extension_start; extension; extension = extension->next) {
    if (extension->type != XLA_FFI_Extension_Metadata) continue;
    auto* metadata = reinterpret_cast<XLA_FFI_Metadata_Extension*>(extension)->metadata;
    metadata->api_version.major_version = XLA_FFI_API_MAJOR;
    metadata->api_version.minor_version = XLA_FFI_API_MINOR;
    return nullptr;
  }
  const XLA_FFI_ByteSpan* text = text_of(frame->attrs);
  if (text == nullptr) return error(frame->api, "onetrace: a callback without its text");
  if (frame->args.size == 0) return error(frame->api, "onetrace: a callback without operands");
  std::vector<Operand> operands;
  for (int64_t i = 0; i < frame->args.size; ++i) {
    const auto* buffer = static_cast<const XLA_FFI_Buffer*>(frame->args.args[i]);
    operands.push_back({static_cast<int32_t>(buffer->dtype), buffer->data, buffer->dims,
                        static_cast<size_t>(buffer->rank)});
  }
  bool known = called(text->ptr, text->len, operands.data(), operands.size());
  return known ? nullptr : error(frame->api, "onetrace: a callback that is not known");
}

}  // namespace

extern "C" {

// Registers the handler under `name` on CPUs: it calls `function`. Returns whether XLA took it.
bool onetrace_register_callback(const char* name, size_t name_size, Called function) {
  called = function;
  const XLA_FFI_Api* api = xla::ffi::GetXlaFfiApi();
  XLA_FFI_Handler_Register_Args args{};
  args.struct_size = XLA_FFI_Handler_Register_Args_STRUCT_SIZE;
  args.name = {name, name_size};
  args.platform = {"Host", 4};
  args.bundle.execute = handle;
  XLA_FFI_Error* failed = api->XLA_FFI_Handler_Register(&args);
  if (failed == nullptr) return true;
  XLA_FFI_Error_Destroy_Args destroy{};
  destroy.struct_size = XLA_FFI_Error_Destroy_Args_STRUCT_SIZE;
  destroy.error = failed;
  api->XLA_FFI_Error_Destroy(&destroy);
  return false;
}

}  // extern "C"
