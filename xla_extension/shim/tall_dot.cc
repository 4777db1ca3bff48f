// Products of tall matrices along their rows: the transpose of [k, m] times [k, n] is [m, n], where
// the columns of the second one may come from several. Blocks of both are packed as they are read,
// so that a block of sums in registers reads memory in order.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "ffi_handler.h"
#include "panels.h"
#include "shared_parts.h"

namespace {

using onetrace::kColumns;
using onetrace::kMultiplicationsOfThread;
using onetrace::Vector;

// The rows of the result whose sums are in registers.
constexpr int64_t kRows = 8;

// So many rows of the matrices are multiplied at a time, for so many blocks of rows and so many
// panels of the result: what is packed stays in the second cache then, and one panel in the first.
constexpr int64_t kDepth = 256;
constexpr int64_t kBlocks = 16;
constexpr int64_t kPanels = 16;

// Columns of the second matrix: where the first row of them is, and how far the next one.
struct Panel {
  const float* start;
  int64_t stride;
};

// `x` is [depth, rows], and `result` [rows, 32 times the panels].
struct Product {
  const float* x;
  std::vector<Panel> panels;
  float* result;
  int64_t depth, rows;

  int64_t columns() const { return static_cast<int64_t>(panels.size()) * kColumns; }
};

// A part of the result.
struct Range {
  int64_t first_row, last_row, first_panel, last_panel;
};

struct alignas(64) Packed {
  float x[kBlocks * kDepth * kRows];
  float panels[kPanels * kDepth * kColumns];
};

// The columns of `x` from `row` on become blocks of `kRows`, row after row.
void pack_x(const Product& product, int64_t start, int64_t depth, int64_t row, int64_t rows,
            float* to) {
  for (int64_t last = row + rows; row < last; row += kRows) {
    const int64_t count = std::min(kRows, last - row);
    const float* from = product.x + start * product.rows + row;
    for (int64_t i = 0; i < depth; ++i, to += kRows, from += product.rows) {
      if (count == kRows) {
        std::memcpy(to, from, kRows * sizeof(float));
      } else {
        std::fill(std::copy(from, from + count, to), to + kRows, 0.0f);
      }
    }
  }
}

// The panels from `panel` on, row after row each.
void pack_panels(const Product& product, int64_t start, int64_t depth, int64_t panel,
                 int64_t panels, float* to) {
  for (int64_t p = panel; p < panel + panels; ++p) {
    const int64_t stride = product.panels[p].stride;
    const float* from = product.panels[p].start + start * stride;
    for (int64_t i = 0; i < depth; ++i, to += kColumns, from += stride) {
      std::memcpy(to, from, kColumns * sizeof(float));
    }
  }
}

// Adds to `Rows` rows of the result, from the `first` of those packed on, the products of what is
// packed. The first time there is nothing to add to. Of the rows there are `count`.
template <int Elements, int Rows>
__attribute__((always_inline)) inline void block(const float* x, const float* panel, int64_t depth,
                                                 float* result, int64_t columns, int64_t first,
                                                 int64_t count, bool is_first) {
  using Value = typename Vector<Elements>::Value;
  using Stored = typename Vector<Elements>::Stored;
  constexpr int kVectors = kColumns / Elements;
  Value sums[Rows][kVectors] = {};
  for (int64_t i = 0; i < depth; ++i) {
    Value values[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      values[v] = *reinterpret_cast<const Stored*>(panel + i * kColumns + v * Elements);
    }
    for (int r = 0; r < Rows; ++r) {
      for (int v = 0; v < kVectors; ++v) sums[r][v] += x[i * kRows + first + r] * values[v];
    }
  }
  for (int r = 0; r < Rows && first + r < count; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      float* start = result + (first + r) * columns + v * Elements;
      Stored& stored = *reinterpret_cast<Stored*>(start);
      stored = is_first ? sums[r][v] : stored + sums[r][v];
    }
  }
}

// Adds the products of what is packed to so many rows and panels of the result.
template <int Elements, int Rows>
__attribute__((always_inline)) inline void add(const Packed& packed, int64_t depth, int64_t rows,
                                               int64_t panels, float* result, int64_t columns,
                                               bool is_first) {
  for (int64_t p = 0; p < panels; ++p) {
    const float* panel = packed.panels + p * depth * kColumns;
    for (int64_t row = 0; row < rows; row += kRows) {
      for (int64_t first = 0; first < kRows; first += Rows) {
        block<Elements, Rows>(packed.x + row * depth, panel, depth,
                              result + row * columns + p * kColumns, columns, first, rows - row,
                              is_first);
      }
    }
  }
}

template <int Elements, int Rows>
__attribute__((always_inline)) inline void compute_with(const Product& product,
                                                        const Range& range) {
  // All that is read of it is written before: `make_unique` would write zeros.
  const std::unique_ptr<Packed> packed(new Packed);
  for (int64_t panel = range.first_panel; panel < range.last_panel; panel += kPanels) {
    const int64_t panels = std::min(kPanels, range.last_panel - panel);
    for (int64_t start = 0; start < product.depth; start += kDepth) {
      const int64_t depth = std::min(kDepth, product.depth - start);
      pack_panels(product, start, depth, panel, panels, packed->panels);
      for (int64_t row = range.first_row; row < range.last_row; row += kBlocks * kRows) {
        const int64_t rows = std::min(kBlocks * kRows, range.last_row - row);
        pack_x(product, start, depth, row, rows, packed->x);
        float* result = product.result + row * product.columns() + panel * kColumns;
        add<Elements, Rows>(*packed, depth, rows, panels, result, product.columns(), start == 0);
      }
    }
  }
}

__attribute__((target("avx512f"))) void compute_avx512(const Product& product,
                                                       const Range& range) {
  compute_with<16, 8>(product, range);
}

// The same with registers for half as many sums, of 8 floats.
__attribute__((target("avx2,fma"))) void compute_avx2(const Product& product, const Range& range) {
  compute_with<8, 2>(product, range);
}

void compute(const Product& product, const Range& range) {
  static const bool has_avx512 = __builtin_cpu_supports("avx512f");
  (has_avx512 ? compute_avx512 : compute_avx2)(product, range);
}

void compute_on_threads(const XLA_FFI_CallFrame* frame, Product product) {
  const int64_t panels = static_cast<int64_t>(product.panels.size());
  const int64_t blocks = (product.rows + kRows - 1) / kRows;
  const int64_t worth =
      product.depth * product.rows * product.columns() / kMultiplicationsOfThread;
  const int64_t threads = onetrace::parts_of(frame, std::min(worth, panels * blocks));
  // Each thread takes some of the panels, and of many rows half of them at a time, for another one
  // may come late from another product. With few rows a part, packing would take longer.
  const int64_t of_panels = std::min(threads, panels);
  const int64_t of_rows =
      threads == 1 ? 1 : std::clamp<int64_t>(blocks / kBlocks, 1, 2 * threads / of_panels);
  auto work = [product = std::move(product), panels, blocks, of_panels, of_rows](int64_t part) {
    const int64_t p = part % of_panels, r = part / of_panels;
    compute(product, {blocks * r / of_rows * kRows,
                      std::min(blocks * (r + 1) / of_rows * kRows, product.rows),
                      panels * p / of_panels, panels * (p + 1) / of_panels});
  };
  onetrace::run_in_parts(frame, of_panels * of_rows, std::move(work));
}

// Takes the product out of a call. Returns whether it is one: all operands have the same rows, and
// the columns of all but the first are panels.
bool read(const XLA_FFI_CallFrame* frame, Product* product) {
  const XLA_FFI_Args& args = frame->args;
  if (args.size < 2 || frame->rets.size != 1) return false;
  const XLA_FFI_Buffer* x = onetrace::buffer(args.args[0]);
  const XLA_FFI_Buffer* result = onetrace::buffer(frame->rets.rets[0]);
  if (!onetrace::is_f32(x) || !onetrace::is_f32(result) || x->rank != 2) return false;
  product->x = static_cast<const float*>(x->data);
  product->result = static_cast<float*>(result->data);
  product->depth = x->dims[0];
  product->rows = x->dims[1];
  for (int64_t i = 1; i < args.size; ++i) {
    const XLA_FFI_Buffer* matrix = onetrace::buffer(args.args[i]);
    if (!onetrace::is_f32(matrix) || matrix->rank != 2 || matrix->dims[0] != product->depth ||
        matrix->dims[1] % kColumns != 0) {
      return false;
    }
    const auto* start = static_cast<const float*>(matrix->data);
    for (int64_t column = 0; column < matrix->dims[1]; column += kColumns) {
      product->panels.push_back({start + column, matrix->dims[1]});
    }
  }
  return product->rows * product->columns() == onetrace::elements(result);
}

XLA_FFI_Error* handle(XLA_FFI_CallFrame* frame) {
  if (onetrace::tells_version(frame)) return nullptr;
  Product product = {};
  if (!read(frame, &product)) {
    return onetrace::ffi_error(frame->api, "onetrace: a product of something else than matrices");
  }
  if (product.panels.empty() || product.rows == 0) return nullptr;
  if (product.depth == 0) {
    std::fill_n(product.result, product.rows * product.columns(), 0.0f);
    return nullptr;
  }
  compute_on_threads(frame, std::move(product));
  return nullptr;
}

}  // namespace

extern "C" {

bool onetrace_register_tall_dot(const char* name, size_t name_size) {
  return onetrace::register_kernel(name, name_size, handle);
}

}  // extern "C"
