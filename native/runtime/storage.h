// Device memory in stream order: a caching allocator and the storages it gives.
//
// A stream executes in order, so a block that its owner releases can be given
// away at once, while queued ops still use it: whatever is enqueued later runs
// later. Nothing is reference-counted; an op in the queue names the memory it
// touches by an Operand, plain data that says which owner of the block it means.
//
// Everything here belongs to the thread that enqueues, except where noted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>

#include "backend.h"
#include "runtime/error.h"

namespace bptt {

class Stream;

struct Block;

// Blocks in the order in which they came, linked through themselves: joining and leaving
// cannot fail. A block may be in one list by each pair of links that it has.
struct BlockLinks {
  Block* older = nullptr;
  Block* newer = nullptr;
};

template <BlockLinks Block::* links>
class BlockList {
 public:
  Block* oldest() const { return oldest_; }
  Block* newest() const { return newest_; }
  void add(Block* block) {
    (block->*links) = {newest_, nullptr};
    (newest_ ? (newest_->*links).newer : oldest_) = block;
    newest_ = block;
  }
  void remove(Block* block) {
    const auto [older, newer] = block->*links;
    (older ? (older->*links).newer : oldest_) = newer;
    (newer ? (newer->*links).older : newest_) = older;
  }

 private:
  Block* oldest_ = nullptr;
  Block* newest_ = nullptr;
};

// Device memory and the poison slot that goes with it. Lives until every op
// that was enqueued before its return to the system has run.
struct Block {
  void* data = nullptr;
  size_t capacity = 0;
  uint64_t generation = 0;  // counts owners; an Operand of an earlier one means other contents

  // While it is cached: its place among those of its capacity, `peers`, and in the whole cache.
  BlockLinks alike, cached;
  BlockList<&Block::alike>* peers = nullptr;

  // The executor's. What an op failed to write is poisoned, for that owner.
  uint64_t poisoned_generation = 0;
  FailurePtr poison;
};

// How a queued op refers to a storage that may be gone by the time it runs.
struct Operand {
  Block* block = nullptr;  // null: an optional operand that is not there
  uint64_t generation = 0;

  // On the executor only.
  const FailurePtr* poison() const {
    return block && block->poisoned_generation == generation ? &block->poison : nullptr;
  }
  void set_poison(FailurePtr failure) const {
    if (!block) return;
    block->poisoned_generation = failure ? generation : 0;
    block->poison = std::move(failure);
  }
};

class Allocator;

// The owner of a block. Releasing gives the block back to the allocator.
class Storage {
 public:
  Storage() = default;
  Storage(Storage&& other) noexcept { swap(other); }
  Storage& operator=(Storage&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Storage() { release(); }

  explicit operator bool() const { return block_ != nullptr; }
  void* data() const { return block_ ? block_->data : nullptr; }
  size_t bytes() const { return bytes_; }
  // The stream that it was allocated on; null once that has closed.
  Stream* stream() const;
  Operand operand() const { return {block_, block_ ? block_->generation : 0}; }
  void release();

 private:
  friend class Allocator;
  Storage(std::shared_ptr<Allocator> allocator, Block* block, size_t bytes)
      : allocator_(std::move(allocator)), block_(block), bytes_(bytes) {}
  void swap(Storage& other) noexcept {
    std::swap(allocator_, other.allocator_);
    std::swap(block_, other.block_);
    std::swap(bytes_, other.bytes_);
  }

  std::shared_ptr<Allocator> allocator_;
  Block* block_ = nullptr;
  size_t bytes_ = 0;
};

// A backend opened on one device; closed when the last user of it is gone.
class Device {
 public:
  Device(const bptt_backend* backend, int index);
  ~Device();
  Device(const Device&) = delete;

  const bptt_backend& backend() const { return *backend_; }
  // A context for one thread: the device is shared, the message is not.
  bptt_context context() const { return context_; }

 private:
  const bptt_backend* backend_;
  bptt_context context_{};
};

// Caches blocks by size. Storages share it, so that one which outlives the
// stream (a finalizer at the end of the environment) still has where to go.
class Allocator : public std::enable_shared_from_this<Allocator> {
 public:
  Allocator(std::shared_ptr<Device> device, Stream* stream);
  ~Allocator();

  // Throws Error(BPTT_OUT_OF_MEMORY) after returning the cache and trying again.
  Storage allocate(size_t bytes);
  // Returns all cached blocks to the system, in stream order.
  void trim() { trim(0); }
  // To be called once per period: returns what the last and this one had no use for.
  void age();
  // The stream is gone: released blocks go to the system at once.
  void detach();

  size_t allocated_bytes() const { return live_bytes_; }
  size_t cached_bytes() const { return total_bytes_ - live_bytes_; }
  size_t live_storages() const { return live_; }
  Stream* stream() const { return stream_; }

  // Blocks come in sizes that waste at most a quarter (small ones: 63 bytes).
  static size_t size_class(size_t bytes);

 private:
  friend class Storage;
  using Blocks = BlockList<&Block::cached>;

  Block* take_cached(size_t capacity);
  Block* make_block(size_t capacity);
  void* allocate_on_device(size_t capacity);
  void recycle(Block* block) noexcept;
  void trim(size_t keep_total);
  size_t keep_limit() const;
  void return_to_system(Blocks blocks);
  static void destroy(Blocks blocks, const bptt_backend& backend, bptt_context* context);

  std::shared_ptr<Device> device_;
  bptt_context context_;
  Stream* stream_;
  Blocks cached_;
  std::map<size_t, BlockList<&Block::alike>> by_capacity_;  // an entry for each that was ever made
  size_t live_ = 0;
  size_t live_bytes_ = 0;   // capacity in use
  size_t total_bytes_ = 0;  // capacity held from the system
  // The most that was live at once lately: in this period and the last.
  size_t peak_ = 0, last_peak_ = 0;
  uint64_t allocations_ = 0, aged_allocations_ = 0;  // in all, and at the last age()
  uint64_t returned_ = 0;  // ticket of the last blocks that wait for the stream
};

}  // namespace bptt
