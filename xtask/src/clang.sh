#!/bin/sh
# bindgen asks `clang` where the system's headers are, and the libclang wheel has no such program.
# The C++ compiler answers the same question in the same words.
exec ${CXX:-c++} "$@"
