// The tasks of a step of a loop, one after the other where threads have nothing to gain.
//
// XLA:CPU runs the operations of a loop's body as tasks, which several threads share if there are
// more than eight of them: to hand one over costs a microsecond, more than most of them take. What a
// step of a recurrent loop spends its time in are products. Ours share their columns among the
// threads themselves, and small ones of XLA are not worth a thread. So the tasks of a loop with such
// products, and with nothing that takes long beside them, run in order.
//
// XLA makes the executor of a body by a function that its library exports, and calls it like any
// other one, so that the one of this library, which is loaded before, is found in its place.
#include <dlfcn.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "xla/backends/cpu/runtime/custom_call_thunk.h"
#include "xla/backends/cpu/runtime/thunk.h"
#include "xla/backends/cpu/runtime/thunk_executor.h"
#include "xla/runtime/buffer_use.h"

namespace {

using xla::cpu::CustomCallThunk;
using xla::cpu::Thunk;
using xla::cpu::ThunkExecutor;
using xla::cpu::ThunkSequence;

// How many loops this thread made that run in order.
thread_local int64_t loops_in_order = 0;

// A product of XLA with more multiplications may run beside another one: for an LSTM from 128 to 256
// it is 5 % faster at batch 8, where each of four products has twice as many.
constexpr double kFewMultiplications = 1 << 18;

bool is_short_product(const Thunk& task) {
  switch (task.kind()) {
    case Thunk::Kind::kCustomCall:
      return static_cast<const CustomCallThunk&>(task).target_name() == "onetrace_panel_dot";
    case Thunk::Kind::kDot:
    case Thunk::Kind::kYnnFusion: {
      // [m, k], [k, n] and [m, n] together have as many elements, multiplied, as the square of the
      // multiplications.
      double square = 1;
      for (const xla::BufferUse& use : task.buffer_uses()) {
        square *= static_cast<double>(use.slice().size()) / sizeof(float);
      }
      return square <= kFewMultiplications * kFewMultiplications;
    }
    default:
      return false;
  }
}

// Element-wise operations and copies: XLA shares the large ones among threads as well.
bool is_elementwise(const Thunk& task) {
  return task.kind() == Thunk::Kind::kKernel || task.kind() == Thunk::Kind::kCopy;
}

bool run_in_order(const ThunkSequence& tasks) {
  const auto is_product = [](const auto& task) { return is_short_product(*task); };
  return std::any_of(tasks.begin(), tasks.end(), is_product) &&
         std::all_of(tasks.begin(), tasks.end(), [](const auto& task) {
           return is_short_product(*task) || is_elementwise(*task);
         });
}

}  // namespace

absl::StatusOr<ThunkExecutor> xla::cpu::ThunkExecutor::Create(ThunkSequence tasks,
                                                              const Options& options) {
  using Function = absl::StatusOr<ThunkExecutor> (*)(ThunkSequence, const Options&);
  static const Function function = reinterpret_cast<Function>(dlsym(
      RTLD_NEXT, "_ZN3xla3cpu13ThunkExecutor6CreateENS0_13ThunkSequenceERKNS1_7OptionsE"));
  if (function == nullptr) return absl::InternalError("onetrace: XLA has no executor of tasks");
  Options ours = options;
  if (options.is_nested_executor && run_in_order(tasks)) {
    ours.execute_sequential_num_thunks_threshold = tasks.size();
    ++loops_in_order;
  }
  return function(std::move(tasks), ours);
}

extern "C" int64_t onetrace_loops_in_order() { return loops_in_order; }
