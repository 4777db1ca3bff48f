// What compiled programs call back: one handler, which hands the text and the operands of the call on
// to Rust.

#include <cstdint>
#include <string>
#include <vector>

#include "ffi_handler.h"

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

XLA_FFI_Error* handle(XLA_FFI_CallFrame* frame) {
  if (onetrace::tells_version(frame)) return nullptr;
  const XLA_FFI_ByteSpan* text = text_of(frame->attrs);
  if (text == nullptr) return onetrace::ffi_error(frame->api, "onetrace: a callback without its text");
  if (frame->args.size == 0) return onetrace::ffi_error(frame->api, "onetrace: a callback without operands");
  std::vector<Operand> operands;
  for (int64_t i = 0; i < frame->args.size; ++i) {
    const auto* buffer = static_cast<const XLA_FFI_Buffer*>(frame->args.args[i]);
    operands.push_back({static_cast<int32_t>(buffer->dtype), buffer->data, buffer->dims,
                        static_cast<size_t>(buffer->rank)});
  }
  bool known = called(text->ptr, text->len, operands.data(), operands.size());
  return known ? nullptr : onetrace::ffi_error(frame->api, "onetrace: a callback that is not known");
}

}  // namespace

extern "C" {

// Registers the handler under `name` on CPUs: it calls `function`. Returns whether XLA took it.
bool onetrace_register_callback(const char* name, size_t name_size, Called function) {
  called = function;
  return onetrace::register_handler(name, name_size, handle);
}

}  // extern "C"
