// Packs a matrix into panels for `panel_dot.cc`: [k, 32 p], or [32 p, k], becomes [p, k, 32].

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "ffi_handler.h"
#include "panels.h"
#include "shared_parts.h"

namespace {

using onetrace::kColumns;

// A thread is worth waking for so many floats.
constexpr int64_t kFloatsOfThread = 1 << 17;

// So many rows of a panel are written at a time: they stay in the nearest cache meanwhile.
constexpr int64_t kRows = 64;

// The panels from `start` to `end`, of a matrix whose rows are those of the panels.
void pack_rows(const float* matrix, float* panels, int64_t depth, int64_t columns, int64_t start,
               int64_t end) {
  for (int64_t row = 0; row < depth; ++row) {
    for (int64_t panel = start; panel < end; ++panel) {
      std::memcpy(panels + (panel * depth + row) * kColumns,
                  matrix + row * columns + panel * kColumns, kColumns * sizeof(float));
    }
  }
}

// The same of a matrix whose columns are the rows of the panels.
void pack_columns(const float* matrix, float* panels, int64_t depth, int64_t start, int64_t end) {
  for (int64_t panel = start; panel < end; ++panel) {
    const float* from = matrix + panel * kColumns * depth;
    float* to = panels + panel * kColumns * depth;
    for (int64_t first = 0; first < depth; first += kRows) {
      const int64_t last = std::min(first + kRows, depth);
      for (int64_t column = 0; column < kColumns; ++column) {
        for (int64_t row = first; row < last; ++row) {
          to[row * kColumns + column] = from[column * depth + row];
        }
      }
    }
  }
}

// `axis` is that of the matrix that becomes the rows of the panels.
template <int axis>
XLA_FFI_Error* handle(XLA_FFI_CallFrame* frame) {
  if (onetrace::tells_version(frame)) return nullptr;
  const char* message = "onetrace: panels of something else than a matrix";
  if (frame->args.size != 1 || frame->rets.size != 1) {
    return onetrace::ffi_error(frame->api, message);
  }
  const XLA_FFI_Buffer* matrix = onetrace::buffer(frame->args.args[0]);
  const XLA_FFI_Buffer* panels = onetrace::buffer(frame->rets.rets[0]);
  if (!onetrace::is_f32(matrix) || !onetrace::is_f32(panels) || matrix->rank != 2 ||
      panels->rank != 3 || panels->dims[2] != kColumns || panels->dims[1] != matrix->dims[axis] ||
      panels->dims[0] * kColumns != matrix->dims[1 - axis]) {
    return onetrace::ffi_error(frame->api, message);
  }
  const auto* from = static_cast<const float*>(matrix->data);
  auto* to = static_cast<float*>(panels->data);
  const int64_t count = panels->dims[0], depth = panels->dims[1];
  const int64_t worth = std::min(count, onetrace::elements(panels) / kFloatsOfThread);
  const int64_t parts = onetrace::parts_of(frame, worth);
  onetrace::run_in_parts(frame, parts, [=](int64_t part) {
    const int64_t start = count * part / parts, end = count * (part + 1) / parts;
    if constexpr (axis == 0) {
      pack_rows(from, to, depth, count * kColumns, start, end);
    } else {
      pack_columns(from, to, depth, start, end);
    }
  });
  return nullptr;
}

}  // namespace

extern "C" {

// Registers the handler for matrices whose axis `axis`, 0 or 1, becomes the rows of the panels,
// under `name` on CPUs. Returns whether XLA took it.
bool onetrace_register_panels(const char* name, size_t name_size, int axis) {
  return onetrace::register_handler(name, name_size, axis == 0 ? handle<0> : handle<1>);
}

}  // extern "C"
