// TensorFlow's library logs lines of its own before main. This library asks it not to, and must
// start before it: see xtask/src/shim.rs.
#include <cstdlib>

extern "C" void onetrace_quiet() {
  constexpr int kKeepTheUsersChoice = 0;
  setenv("TF_ENABLE_ONEDNN_OPTS", "0", kKeepTheUsersChoice);
  setenv("TF_CPP_MIN_LOG_LEVEL", "2", kKeepTheUsersChoice);
}

__attribute__((constructor)) static void Start() { onetrace_quiet(); }
