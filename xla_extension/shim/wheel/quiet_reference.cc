// Linked into every program that uses XLA. Linkers leave out a library that nothing refers to: this
// refers to the one that keeps TensorFlow quiet.
extern "C" void onetrace_quiet();

__attribute__((constructor)) static void Refer() { onetrace_quiet(); }
