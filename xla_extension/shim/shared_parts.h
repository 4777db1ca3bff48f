// Work in parts, which the threads of XLA's pool share.
#ifndef ONETRACE_SHARED_PARTS_H_
#define ONETRACE_SHARED_PARTS_H_

#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
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

  // Does a part if nobody has come to it. Returns whether it was the last one to be done.
  bool take(int64_t part) {
    if (taken_[part].exchange(true)) return false;
    work_(part);
    return left_.fetch_sub(1, std::memory_order_acq_rel) == 1;
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

// The rest of a program, which a thread of the pool goes on with when the parts are done.
//
// Who calls a program runs it, and the pool has a thread for each core beside it. The thread that
// helps is woken at each step of a loop, and so may be another one, in the place of who waits for
// it: in a third of all processes a short step, of 6.5 us, took 9. In the pool there is one for each
// core.
class Continuation {
 public:
  // That of the call, if its thread is none of the pool and no other program goes on there: a
  // thread that has a program to run does nothing else, and others must not wait for that.
  static std::optional<Continuation> of(XLA_FFI_CallFrame* frame) {
    if (is_of_pool || is_taken_.exchange(true)) return std::nullopt;
    XLA_FFI_Future_Create_Args args{};
    args.struct_size = XLA_FFI_Future_Create_Args_STRUCT_SIZE;
    XLA_FFI_Error* failed = frame->api->XLA_FFI_Future_Create(&args);
    if (failed != nullptr) {
      destroy(frame->api, failed);
      is_taken_ = false;
      return std::nullopt;
    }
    frame->future = args.future;
    return Continuation(frame->api, args.future);
  }

  // Returns when the program is done, or waits for something else.
  void run() const {
    XLA_FFI_Future_SetAvailable_Args args{};
    args.struct_size = XLA_FFI_Future_SetAvailable_Args_STRUCT_SIZE;
    args.future = future_;
    XLA_FFI_Error* failed = api_->XLA_FFI_Future_SetAvailable(&args);
    if (failed != nullptr) destroy(api_, failed);
    is_taken_ = false;
  }

  // Whether this thread was seen in the pool.
  inline static thread_local bool is_of_pool = false;

 private:
  Continuation(const XLA_FFI_Api* api, XLA_FFI_Future* future) : api_(api), future_(future) {}

  inline static std::atomic<bool> is_taken_{false};

  const XLA_FFI_Api* api_;
  XLA_FFI_Future* future_;
};

// Does the work for each part from 0 on. It is done when this returns, or, with a rest of the
// program, when that begins.
inline void run_in_parts(const XLA_FFI_CallFrame* frame, int64_t parts,
                         std::function<void(int64_t)> work,
                         std::optional<Continuation> rest = std::nullopt) {
  if (parts == 1) return work(0);
  struct Task {
    std::shared_ptr<SharedParts> shared;
    std::optional<Continuation> rest;
    int64_t part;

    void take() const {
      if (shared->take(part) && rest) rest->run();
    }

    static void run(void* data) {
      std::unique_ptr<Task> task(static_cast<Task*>(data));
      Continuation::is_of_pool = true;
      task->take();
    }
  };
  auto shared = std::make_shared<SharedParts>(std::move(work), parts);
  for (int64_t part = rest ? 0 : 1; part < parts; ++part) {
    auto task = std::make_unique<Task>(Task{shared, rest, part});
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
      task->take();
    }
  }
  if (!rest) shared->finish();
}

}  // namespace onetrace

#endif  // ONETRACE_SHARED_PARTS_H_
