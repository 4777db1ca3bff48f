// The files below are one translation unit: XLA's headers take far longer to compile than our code,
// and most of them are the same.
#include "onetrace_hlo.cc"
#include "onetrace_pjrt.cc"
