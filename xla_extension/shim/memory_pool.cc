#include "memory_pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <iterator>

namespace onetrace {

namespace {

// malloc keeps smaller blocks by itself, and finds them sooner.
constexpr size_t kSmallest = size_t{64} << 10;
// Blocks of this size and more begin where a huge page can.
constexpr size_t kHugePage = size_t{2} << 20;

// The size of the block for so many bytes: up to an eighth more, so that sizes which differ little
// share blocks. What is added is never touched, and so takes no memory but in whole pages.
size_t rounded(size_t size) {
  size_t power = kSmallest;
  while (power <= size / 2) power *= 2;
  const size_t grain = power / 8;
  return (size + grain - 1) / grain * grain;
}

void* fresh(size_t size, size_t alignment) {
  void* block = nullptr;
  alignment = std::max(alignment, sizeof(void*));
  return posix_memalign(&block, alignment, std::max(size, size_t{1})) == 0 ? block : nullptr;
}

// A block of a rounded size.
void* fresh_rounded(size_t size, size_t alignment) {
  if (size < kHugePage) return fresh(size, alignment);
  void* block = fresh(size, std::max(alignment, kHugePage));
  // One fault for each 2 MiB instead of 512, where the system has huge pages for who asks.
  if (block != nullptr) madvise(block, size / kHugePage * kHugePage, MADV_HUGEPAGE);
  return block;
}

}  // namespace

void* MemoryPool::allocate(size_t size, size_t alignment) {
  // XLA asks for 64 bytes; whoever wants more than any block has gets a block of their own.
  if (size < kSmallest || size > SIZE_MAX / 4 || limit_ == 0) return fresh(size, alignment);
  const size_t whole = rounded(size);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    auto found = by_size_.find(whole);
    if (found != by_size_.end()) {
      // The newest one may still be in a cache of the processor.
      auto newest = found->second.back();
      void* block = newest->block;
      if (reinterpret_cast<uintptr_t>(block) % alignment == 0) {
        found->second.pop_back();
        if (found->second.empty()) by_size_.erase(found);
        idle_.erase(newest);
        idle_bytes_ -= whole;
        return block;
      }
    }
  }
  void* block = fresh_rounded(whole, alignment);
  if (block != nullptr) return block;
  std::list<Idle> all;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    all = take_beyond(0);
  }
  for (const Idle& idle : all) free(idle.block);
  return fresh_rounded(whole, alignment);
}

void MemoryPool::release(void* block, size_t size) {
  if (size < kSmallest || size > SIZE_MAX / 4 || limit_ == 0) return free(block);
  const size_t whole = rounded(size);
  std::list<Idle> beyond;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    idle_.push_back({block, whole});
    by_size_[whole].push_back(std::prev(idle_.end()));
    idle_bytes_ += whole;
    beyond = take_beyond(limit_);
  }
  for (const Idle& idle : beyond) free(idle.block);
}

std::list<MemoryPool::Idle> MemoryPool::take_beyond(size_t limit) {
  std::list<Idle> taken;
  while (idle_bytes_ > limit) {
    auto oldest = idle_.begin();
    auto of_size = by_size_.find(oldest->size);
    of_size->second.pop_front();
    if (of_size->second.empty()) by_size_.erase(of_size);
    idle_bytes_ -= oldest->size;
    taken.splice(taken.end(), idle_, oldest);
  }
  return taken;
}

}  // namespace onetrace
