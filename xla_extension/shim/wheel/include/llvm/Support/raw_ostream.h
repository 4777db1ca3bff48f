// Stand-in: the wheel leaves out LLVM's headers. xla-rs prints one module into a string.
#pragma once

#include <string>

namespace llvm {
// The real class lives in the library. The inline namespace gives ours other symbol names, so that
// neither can take the other's place when the program is linked.
inline namespace onetrace_stand_in {
class raw_string_ostream {
 public:
  explicit raw_string_ostream(std::string& out) : out_(out) {}
  raw_string_ostream& operator<<(const std::string& text) {
    out_ += text;
    return *this;
  }
  void flush() {}

 private:
  std::string& out_;
};
}  // namespace onetrace_stand_in
}  // namespace llvm
