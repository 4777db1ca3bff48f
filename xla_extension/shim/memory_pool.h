// Memory of the CPU's buffers and of the temporary data of programs, kept when it is given back.
//
// XLA:CPU takes memory for its temporary data at each run of a program, and malloc gives large
// blocks back to the system at once: every run then pays for the pages again.

#ifndef ONETRACE_MEMORY_POOL_H_
#define ONETRACE_MEMORY_POOL_H_

#include <cstddef>
#include <deque>
#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>

namespace onetrace {

class MemoryPool {
 public:
  // Keeps up to `limit` bytes that nobody uses; the block that was idle for longest goes first.
  explicit MemoryPool(size_t limit) : limit_(limit) {}

  MemoryPool(const MemoryPool&) = delete;
  MemoryPool& operator=(const MemoryPool&) = delete;

  // At least `size` bytes, not cleared, or null if the system has none. What `allocate` gave for a
  // size is given back by `release` with the same size.
  void* allocate(size_t size, size_t alignment);
  void release(void* block, size_t size);

 private:
  struct Idle {
    void* block;
    size_t size;
  };

  // Takes idle blocks out, the oldest first, until `limit` bytes are left.
  std::list<Idle> take_beyond(size_t limit);

  const size_t limit_;
  std::mutex mutex_;
  // From the oldest to the newest, and where those of each size are in it, in the same order.
  std::list<Idle> idle_;
  std::unordered_map<size_t, std::deque<std::list<Idle>::iterator>> by_size_;
  size_t idle_bytes_ = 0;
};

}  // namespace onetrace

#endif  // ONETRACE_MEMORY_POOL_H_
