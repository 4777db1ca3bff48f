// Products with matrices that are packed: [.., k] times panels [p, k, 32] is [.., 32 p]; the sum of
// as many of them as there are pairs of operands. Panels let the kernel read memory in order, and
// it keeps the sums of a block of rows in registers.

#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "ffi_handler.h"
#include "panels.h"
#include "shared_parts.h"

namespace {

using onetrace::kColumns;
using onetrace::kMultiplicationsOfThread;
using onetrace::Vector;

// One row is bound by reading the panels, so that a thread is worth waking for fewer
// multiplications: with 98,304 for each of two, a step of a GRU from 128 to 256 takes 10 % less, and
// with 32,768 half as much again.
constexpr int64_t kMultiplicationsOfRow = 90'000;

// Another thread fetches rows, and this one the columns that it makes, from a cache that is not its
// own. That takes as long as so many multiplications for each element: two threads were as fast as
// one, or slower by a third, for 128 rows of 64 and 192 columns.
constexpr int64_t kMultiplicationsOfElement = 34;

// What is multiplied: `x` is [rows, depth], and `panels` are [count, depth, 32].
struct Term {
  const float* x;
  const float* panels;
  int64_t depth;
};

// The sum of the products: `result` is [rows, 32 count].
struct Product {
  std::vector<Term> terms;
  float* result;
  int64_t rows, count;
  // Whether the panels are taken from the last one on.
  bool backwards;
};

// The rows from `row` on of panels `panel`, `panel` + 1, ..
template <int Elements, int Rows, int Panels>
__attribute__((always_inline)) inline void block(const Product& product, int64_t row,
                                                 int64_t panel) {
  using Value = typename Vector<Elements>::Value;
  using Stored = typename Vector<Elements>::Stored;
  constexpr int kOfPanel = kColumns / Elements;
  Value sums[Rows][kOfPanel * Panels] = {};
  for (const Term& term : product.terms) {
    const int64_t depth = term.depth;
    const float* x = term.x + row * depth;
    const float* columns = term.panels + panel * depth * kColumns;
    for (int64_t i = 0; i < depth; ++i) {
      Value values[kOfPanel * Panels];
      for (int v = 0; v < kOfPanel * Panels; ++v) {
        const float* panel_row = columns + (v / kOfPanel * depth + i) * kColumns;
        values[v] = *reinterpret_cast<const Stored*>(panel_row + v % kOfPanel * Elements);
      }
      for (int r = 0; r < Rows; ++r) {
        for (int v = 0; v < kOfPanel * Panels; ++v) {
          sums[r][v] += x[r * depth + i] * values[v];
        }
      }
    }
  }
  float* result = product.result + row * product.count * kColumns + panel * kColumns;
  for (int r = 0; r < Rows; ++r) {
    for (int v = 0; v < kOfPanel * Panels; ++v) {
      float* start = result + r * product.count * kColumns + v * Elements;
      *reinterpret_cast<Stored*>(start) = sums[r][v];
    }
  }
}

// All rows of some panels from `row` on: as many blocks of `Rows` as there are, then smaller ones.
template <int Elements, int Rows, int Panels>
__attribute__((always_inline)) inline void blocks(const Product& product, int64_t row,
                                                  int64_t panel) {
  for (; row + Rows <= product.rows; row += Rows) {
    block<Elements, Rows, Panels>(product, row, panel);
  }
  if constexpr (Rows > 1) blocks<Elements, Rows / 2, Panels>(product, row, panel);
}

// The panels from `start` to `end`, in blocks of `Rows` rows and `Panels` panels.
template <int Elements, int Rows, int Panels>
__attribute__((always_inline)) inline void panels_in_blocks(const Product& product, int64_t start,
                                                            int64_t end) {
  const int64_t groups = (end - start) / Panels, rest = (end - start) % Panels;
  const int64_t count = groups + rest;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t group = product.backwards ? count - 1 - i : i;
    if (group < groups) {
      blocks<Elements, Rows, Panels>(product, 0, start + group * Panels);
    } else {
      blocks<Elements, Rows, 1>(product, 0, end - count + group);
    }
  }
}

// A block has as many sums as the registers have room for, of 16 floats: fewer would not keep the
// processor busy, so where there are few rows it has more panels. One row waits for its panels: it
// has two, for it reads two places of memory 5 % faster than four.
__attribute__((target("avx512f"))) void panels_avx512(const Product& product, int64_t start,
                                                      int64_t end) {
  if (product.rows >= 8) return panels_in_blocks<16, 8, 1>(product, start, end);
  if (product.rows >= 4) return panels_in_blocks<16, 4, 2>(product, start, end);
  if (product.rows >= 2) return panels_in_blocks<16, 2, 4>(product, start, end);
  panels_in_blocks<16, 1, 2>(product, start, end);
}

// The same with registers for half as many sums, of 8 floats.
__attribute__((target("avx2,fma"))) void panels_avx2(const Product& product, int64_t start,
                                                     int64_t end) {
  if (product.rows >= 2) return panels_in_blocks<8, 2, 1>(product, start, end);
  panels_in_blocks<8, 1, 2>(product, start, end);
}

void compute(const Product& product, int64_t start, int64_t end) {
  static const bool has_avx512 = __builtin_cpu_supports("avx512f");
  (has_avx512 ? panels_avx512 : panels_avx2)(product, start, end);
}

// How many threads the product is worth. Each takes all rows, and its part of the columns.
int64_t threads_for(const Product& product) {
  int64_t depth = 0;
  for (const Term& term : product.terms) depth += term.depth;
  const int64_t columns = product.count * kColumns;
  if (product.rows == 1) return depth * columns / kMultiplicationsOfRow;
  return product.rows * columns * (depth - kMultiplicationsOfElement) /
         (kMultiplicationsOfThread + product.rows * depth * kMultiplicationsOfElement);
}

// Whether it is the turn of the last panel to be the first one: at every second product with these
// panels. What is larger than a cache is out of it when it is read again in the same order; like
// this, what was read last comes first. No number changes, so it does not matter that products
// share turns.
bool takes_turn(const float* panels) {
  static std::atomic<uint64_t> turns{0};
  const uint64_t turn = uint64_t{1} << (reinterpret_cast<uintptr_t>(panels) / 4096 % 64);
  return (turns.fetch_xor(turn, std::memory_order_relaxed) & turn) != 0;
}

void compute_on_threads(XLA_FFI_CallFrame* frame, Product product) {
  product.backwards = takes_turn(product.terms[0].panels);
  const int64_t worth = threads_for(product);
  const int64_t count = product.count;
  const int64_t parts = onetrace::parts_of(frame, std::min(worth, count));
  // The steps of one row are the short ones.
  const bool leaves = product.rows == 1 && parts > 1;
  const auto rest = leaves ? onetrace::Continuation::of(frame) : std::nullopt;
  auto work = [product = std::move(product), count, parts](int64_t part) {
    compute(product, count * part / parts, count * (part + 1) / parts);
  };
  onetrace::run_in_parts(frame, parts, std::move(work), rest);
}

// Takes the product out of a call. Returns whether it is one: all operands have the same rows, and
// all panels the columns of the result.
bool read(const XLA_FFI_CallFrame* frame, Product* product) {
  const XLA_FFI_Args& args = frame->args;
  if (args.size < 2 || args.size % 2 != 0 || frame->rets.size != 1) return false;
  const XLA_FFI_Buffer* result = onetrace::buffer(frame->rets.rets[0]);
  const XLA_FFI_Buffer* first = onetrace::buffer(args.args[1]);
  if (!onetrace::is_f32(result) || first->rank != 3) return false;
  product->result = static_cast<float*>(result->data);
  product->count = first->dims[0];
  const int64_t columns = product->count * kColumns;
  if (columns == 0) return onetrace::elements(result) == 0;
  product->rows = onetrace::elements(result) / columns;
  for (int64_t i = 0; i < args.size; i += 2) {
    const XLA_FFI_Buffer* x = onetrace::buffer(args.args[i]);
    const XLA_FFI_Buffer* panels = onetrace::buffer(args.args[i + 1]);
    if (!onetrace::is_f32(x) || !onetrace::is_f32(panels) || panels->rank != 3 ||
        panels->dims[0] != product->count || panels->dims[2] != kColumns ||
        onetrace::elements(x) != product->rows * panels->dims[1]) {
      return false;
    }
    product->terms.push_back({static_cast<const float*>(x->data),
                              static_cast<const float*>(panels->data), panels->dims[1]});
  }
  return product->rows * columns == onetrace::elements(result);
}

XLA_FFI_Error* handle(XLA_FFI_CallFrame* frame) {
  if (onetrace::tells_version(frame)) return nullptr;
  Product product = {};
  if (!read(frame, &product)) {
    return onetrace::ffi_error(frame->api,
                               "onetrace: a product of something else than rows and panels");
  }
  compute_on_threads(frame, std::move(product));
  return nullptr;
}

}  // namespace

extern "C" {

bool onetrace_register_panel_dot(const char* name, size_t name_size) {
  return onetrace::register_kernel(name, name_size, handle);
}

}  // extern "C"
