// What the handlers of custom calls share: they are known to XLA through its foreign function
// interface (FFI), which is plain C.
#ifndef ONETRACE_FFI_HANDLER_H_
#define ONETRACE_FFI_HANDLER_H_

#include <cstddef>
#include <cstdint>

#include "xla/ffi/api/c_api.h"

namespace xla::ffi {
const XLA_FFI_Api* GetXlaFfiApi();
}

namespace onetrace {

// When a handler is registered, XLA asks for the version that it was made for. Answers, and returns
// true, if this is that question.
inline bool tells_version(const XLA_FFI_CallFrame* frame) {
  for (auto* extension = frame->extension_start; extension; extension = extension->next) {
    if (extension->type != XLA_FFI_Extension_Metadata) continue;
    auto* metadata = reinterpret_cast<XLA_FFI_Metadata_Extension*>(extension)->metadata;
    metadata->api_version.major_version = XLA_FFI_API_MAJOR;
    metadata->api_version.minor_version = XLA_FFI_API_MINOR;
    return true;
  }
  return false;
}

inline XLA_FFI_Error* ffi_error(const XLA_FFI_Api* api, const char* message) {
  XLA_FFI_Error_Create_Args args{};
  args.struct_size = XLA_FFI_Error_Create_Args_STRUCT_SIZE;
  args.message = message;
  args.errc = XLA_FFI_Error_Code_INVALID_ARGUMENT;
  return api->XLA_FFI_Error_Create(&args);
}

inline void destroy(const XLA_FFI_Api* api, XLA_FFI_Error* error) {
  XLA_FFI_Error_Destroy_Args args{};
  args.struct_size = XLA_FFI_Error_Destroy_Args_STRUCT_SIZE;
  args.error = error;
  api->XLA_FFI_Error_Destroy(&args);
}

inline const XLA_FFI_Buffer* buffer(void* argument) {
  return static_cast<const XLA_FFI_Buffer*>(argument);
}

inline bool is_f32(const XLA_FFI_Buffer* buffer) {
  return buffer->dtype == XLA_FFI_DataType_F32;
}

inline int64_t elements(const XLA_FFI_Buffer* buffer) {
  int64_t size = 1;
  for (int64_t axis = 0; axis < buffer->rank; ++axis) size *= buffer->dims[axis];
  return size;
}

// Registers a handler under `name` on CPUs. Returns whether XLA took it.
inline bool register_handler(const char* name, size_t name_size, XLA_FFI_Handler* handler) {
  const XLA_FFI_Api* api = xla::ffi::GetXlaFfiApi();
  XLA_FFI_Handler_Register_Args args{};
  args.struct_size = XLA_FFI_Handler_Register_Args_STRUCT_SIZE;
  args.name = {name, name_size};
  args.platform = {"Host", 4};
  args.bundle.execute = handler;
  XLA_FFI_Error* failed = api->XLA_FFI_Handler_Register(&args);
  if (failed != nullptr) destroy(api, failed);
  return failed == nullptr;
}

}  // namespace onetrace

#endif  // ONETRACE_FFI_HANDLER_H_
