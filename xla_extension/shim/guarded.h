// What the C functions of this directory share: a function that can fail returns a text that says
// why, to be freed with `onetrace_free`, or null. No C++ exception leaves a function.
#ifndef ONETRACE_GUARDED_H_
#define ONETRACE_GUARDED_H_

#include <cstdlib>
#include <cstring>
#include <exception>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace onetrace {

// A copy that the caller frees, with a zero behind it.
inline char* copy(absl::string_view text) {
  char* bytes = static_cast<char*>(std::malloc(text.size() + 1));
  if (bytes == nullptr) std::abort();
  std::memcpy(bytes, text.data(), text.size());
  bytes[text.size()] = '\0';
  return bytes;
}

// The error of `f`, which returns a status and may throw.
template <typename F>
char* guarded(F f) noexcept {
  try {
    absl::Status status = f();
    return status.ok() ? nullptr : copy(status.ToString());
  } catch (const std::exception& error) {
    return copy(error.what());
  } catch (...) {
    return copy("an unknown C++ exception");
  }
}

}  // namespace onetrace

#endif  // ONETRACE_GUARDED_H_
