// Work in parts, which the threads of XLA's pool share.
#ifndef ONETRACE_SHARED_PARTS_H_
#define ONETRACE_SHARED_PARTS_H_

#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <utility>

#include "ffi_handler.h"

namespace onetrace {

// A product of fewer multiplications than this for each thread is not worth waking one.
constexpr int64_t kMultiplicationsOfThread = 350'000;

// Who asks for the work takes the first part, and then those that no thread of the pool has come
// to: it never waits for one that is busy with something else. Each part is the same at every step
// of a loop, and so in the cache of the thread that takes it.
class SharedParts {
 public:
  SharedParts(std::function<void(int64_t)> work, int64_t parts)
      : work_(std::move(work)),
        parts_(parts),
        left_(parts),
        taken_(new std::atomic<bool>[parts]()) {}

  void take(int64_t part) {
    if (taken_[part].exchange(true)) return;
    work_(part);
    left_.fetch_sub(1, std::memory_order_release);
  }

  void finish() {
    for (int64_t part = 0; part < parts_; ++part) take(part);
    // The others have begun; but where there are more threads than cores, one may not be running.
    for (int turn = 0; left_.load(std::memory_order_acquire) > 0; ++turn) {
      if (turn < kTurns) {
        _mm_pause();
      } else {
        std::this_thread::yield();
      }
    }
  }

 private:
  // How often a thread looks whether the others are done before it lets go of its core.
  static constexpr int kTurns = 1 << 10;

  std::function<void(int64_t)> work_;
  int64_t parts_;
  std::atomic<int64_t> left_;
  std::unique_ptr<std::atomic<bool>[]> taken_;
};

// How many parts to make of work that is worth so many: at most one for each thread, and at least
// one.
inline int64_t parts_of(const XLA_FFI_CallFrame* frame, int64_t worth) {
  if (worth <= 1) return 1;
  int64_t threads = 1;
  XLA_FFI_ThreadPool_NumThreads_Args args{};
  args.struct_size = XLA_FFI_ThreadPool_NumThreads_Args_STRUCT_SIZE;
  args.ctx = frame->ctx;
  args.num_threads = &threads;
  XLA_FFI_Error* failed = frame->api->XLA_FFI_ThreadPool_NumThreads(&args);
  if (failed == nullptr) return std::clamp<int64_t>(threads, 1, worth);
  destroy(frame->api, failed);
  return 1;
}

// Does the work for each part from 0 on. It is done when this returns.
inline void run_in_parts(const XLA_FFI_CallFrame* frame, int64_t parts,
                         std::function<void(int64_t)> work) {
  if (parts == 1) return work(0);
  struct Task {
    std::shared_ptr<SharedParts> shared;
    int64_t part;

    static void run(void* data) {
      std::unique_ptr<Task> task(static_cast<Task*>(data));
      task->shared->take(task->part);
    }
  };
  auto shared = std::make_shared<SharedParts>(std::move(work), parts);
  for (int64_t part = 1; part < parts; ++part) {
    auto task = std::make_unique<Task>(Task{shared, part});
    XLA_FFI_ThreadPool_Schedule_Args args{};
    args.struct_size = XLA_FFI_ThreadPool_Schedule_Args_STRUCT_SIZE;
    args.ctx = frame->ctx;
    args.task = Task::run;
    args.data = task.get();
    XLA_FFI_Error* failed = frame->api->XLA_FFI_ThreadPool_Schedule(&args);
    if (failed == nullptr) {
      task.release();
    } else {
      destroy(frame->api, failed);
    }
  }
  shared->finish();
}

}  // namespace onetrace

#endif  // ONETRACE_SHARED_PARTS_H_
