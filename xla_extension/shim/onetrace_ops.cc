// C functions over XLA that the xla crate lacks. Its opaque pointers are XLA's own classes (see
// the typedefs at the head of its xla_rs.h), and so are ours. Functions that make an operation
// return a new XlaOp; what is wrong with it is kept by its builder, where the caller looks.

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "xla/hlo/builder/lib/constants.h"
#include "xla/hlo/builder/lib/math.h"
#include "xla/hlo/builder/xla_builder.h"
#include "xla/layout_util.h"
#include "xla/shape_util.h"
#include "xla/xla_data.pb.h"

using xla::XlaOp;

namespace {

using Unary = XlaOp (*)(XlaOp);
using Binary = XlaOp (*)(XlaOp, XlaOp);

template <typename F>
struct Entry {
  absl::string_view name;
  F function;
};

template <typename F, size_t n>
F find(const Entry<F> (&table)[n], absl::string_view name) {
  for (const Entry<F>& entry : table) {
    if (entry.name == name) return entry.function;
  }
  return nullptr;
}

XlaOp* unknown(const XlaOp* x, const char* name) {
  return new XlaOp(x->builder()->ReportError(
      absl::InvalidArgumentError(absl::StrCat("no operation is called ", name))));
}

}  // namespace

extern "C" {

XlaOp* onetrace_unary(const char* name, const XlaOp* x) {
  static constexpr Entry<Unary> table[] = {
      {"round_nearest_even", [](XlaOp x) { return xla::RoundNearestEven(x); }},
      {"exp2", [](XlaOp x) { return xla::Exp(xla::Mul(x, xla::ScalarLike(x, 0.6931471805599453))); }},
      {"tan", [](XlaOp x) { return xla::Tan(x); }},
      {"asin", [](XlaOp x) { return xla::Asin(x); }},
      {"acos", [](XlaOp x) { return xla::Acos(x); }},
      {"atan", [](XlaOp x) { return xla::Atan(x); }},
      {"sinh", [](XlaOp x) { return xla::Sinh(x); }},
      {"cosh", [](XlaOp x) { return xla::Cosh(x); }},
      {"asinh", [](XlaOp x) { return xla::Asinh(x); }},
      {"acosh", [](XlaOp x) { return xla::Acosh(x); }},
      {"atanh", [](XlaOp x) { return xla::Atanh(x); }},
      {"erfc", [](XlaOp x) { return xla::Erfc(x); }},
      {"erf_inv", [](XlaOp x) { return xla::ErfInv(x); }},
      {"lgamma", [](XlaOp x) { return xla::Lgamma(x); }},
      {"digamma", [](XlaOp x) { return xla::Digamma(x); }},
      {"population_count", [](XlaOp x) { return xla::PopulationCount(x); }},
  };
  Unary f = find(table, name);
  return f ? new XlaOp(f(*x)) : unknown(x, name);
}

XlaOp* onetrace_binary(const char* name, const XlaOp* x, const XlaOp* y) {
  static constexpr Entry<Binary> table[] = {
      {"nextafter", [](XlaOp x, XlaOp y) { return xla::NextAfter(x, y); }},
      {"polygamma", [](XlaOp n, XlaOp x) { return xla::Polygamma(n, x); }},
      {"shift_left", [](XlaOp x, XlaOp y) { return xla::ShiftLeft(x, y); }},
      {"shift_right_logical", [](XlaOp x, XlaOp y) { return xla::ShiftRightLogical(x, y); }},
      {"shift_right_arithmetic", [](XlaOp x, XlaOp y) { return xla::ShiftRightArithmetic(x, y); }},
  };
  Binary f = find(table, name);
  return f ? new XlaOp(f(*x, *y)) : unknown(x, name);
}

XlaOp* onetrace_optimization_barrier(const XlaOp* tuple) {
  return new XlaOp(xla::OptimizationBarrier(*tuple));
}

XlaOp* onetrace_bitcast_convert(const XlaOp* x, int primitive_type) {
  return new XlaOp(xla::BitcastConvertType(*x, static_cast<xla::PrimitiveType>(primitive_type)));
}

// A conditional of any number of branches, each with its own operand.
XlaOp* onetrace_conditional(const XlaOp* index, const xla::XlaComputation* const* branches,
                            const XlaOp* const* operands, size_t count) {
  std::vector<XlaOp> values;
  for (size_t i = 0; i < count; ++i) values.push_back(*operands[i]);
  return new XlaOp(xla::Conditional(*index, absl::MakeConstSpan(branches, count), values));
}

// Sorts several arrays together: a tuple, or the one array there is.
XlaOp* onetrace_sort(const XlaOp* const* operands, size_t count,
                     const xla::XlaComputation* comparator, int64_t axis, bool is_stable) {
  std::vector<XlaOp> values;
  for (size_t i = 0; i < count; ++i) values.push_back(*operands[i]);
  return new XlaOp(xla::Sort(values, *comparator, axis, is_stable));
}

// Folds, for each position along `axis`, the elements up to it (from it on, if `reverse`).
XlaOp* onetrace_cumulative(const XlaOp* x, const XlaOp* init,
                           const xla::XlaComputation* computation, const int64_t* dims,
                           size_t rank, size_t axis, bool reverse) {
  std::vector<int64_t> window(rank, 1), strides(rank, 1);
  std::vector<std::pair<int64_t, int64_t>> padding(rank, {0, 0});
  window[axis] = dims[axis];
  (reverse ? padding[axis].second : padding[axis].first) = dims[axis] - 1;
  return new XlaOp(xla::ReduceWindowWithGeneralPadding(*x, *init, *computation, window, strides,
                                                       /*base_dilations=*/{},
                                                       /*window_dilations=*/{}, padding));
}

// A call of a handler that XLA knows as `target`, with operands and a result in row-major order. Where
// it has an effect, XLA keeps it although nobody may use the result.
XlaOp* onetrace_custom_call(const XlaOp* const* operands, size_t count, const char* target,
                            const char* attributes, int primitive_type, const int64_t* dims,
                            size_t rank, bool has_effect) {
  xla::XlaBuilder* builder = operands[0]->builder();
  std::vector<XlaOp> values;
  std::vector<xla::Shape> shapes;
  for (size_t i = 0; i < count; ++i) {
    values.push_back(*operands[i]);
    absl::StatusOr<xla::Shape> shape = builder->GetShape(*operands[i]);
    if (!shape.ok()) return new XlaOp(builder->ReportError(shape.status()));
    xla::LayoutUtil::SetToDefaultLayout(&*shape);
    shapes.push_back(*std::move(shape));
  }
  xla::Shape result = xla::ShapeUtil::MakeShapeWithDescendingLayout(
      static_cast<xla::PrimitiveType>(primitive_type), absl::MakeConstSpan(dims, rank));
  return new XlaOp(xla::CustomCallWithLayout(
      builder, target, values, result, shapes, attributes, has_effect,
      /*output_operand_aliasing=*/{}, /*literal=*/nullptr,
      xla::CustomCallSchedule::SCHEDULE_NONE, xla::CustomCallApiVersion::API_VERSION_TYPED_FFI));
}

// Sets the metadata of every operation that the builder makes from now on.
void onetrace_set_op_metadata(const XlaOp* any_op_of_the_builder, const char* op_type,
                              const char* op_name, const char* source_file, int source_line) {
  xla::OpMetadata metadata;
  metadata.set_op_type(op_type);
  metadata.set_op_name(op_name);
  metadata.set_source_file(source_file);
  metadata.set_source_line(source_line);
  any_op_of_the_builder->builder()->SetOpMetadata(metadata);
}

}  // extern "C"
