#include "runtime/storage.h"

#include <algorithm>
#include <bit>

#include "runtime/stream.h"

namespace bptt {

namespace {

// The cache may hold this much, or a quarter more than was lately in use.
constexpr size_t kKeepBytes = size_t{256} << 20;
constexpr size_t kSmallestStep = 64;
constexpr size_t kLargestStep = size_t{1} << 20;

}  // namespace

Device::Device(const bptt_backend* backend, int index) : backend_(backend) {
  if (backend->version != BPTT_BACKEND_VERSION) {
    throw Error(BPTT_DEVICE, std::string("the backend '") + backend->name + "' is of version " +
                                 std::to_string(backend->version) + ", not " +
                                 std::to_string(BPTT_BACKEND_VERSION));
  }
  const bptt_code code = backend->open(&context_, index);
  if (code != BPTT_OK) throw Error(code, context_.message);
}

Device::~Device() { backend_->close(&context_); }

Stream* Storage::stream() const { return allocator_ ? allocator_->stream() : nullptr; }

void Storage::release() {
  if (!block_) return;
  bytes_ = 0;
  allocator_->recycle(std::exchange(block_, nullptr));
  allocator_.reset();
}

Allocator::Allocator(std::shared_ptr<Device> device, Stream* stream)
    : device_(std::move(device)), context_(device_->context()), stream_(stream) {}

Allocator::~Allocator() { detach(); }

size_t Allocator::size_class(size_t bytes) {
  const size_t step = std::clamp(std::bit_floor(bytes) / 4, kSmallestStep, kLargestStep);
  return bytes == 0 ? kSmallestStep : (bytes + step - 1) / step * step;
}

Storage Allocator::allocate(size_t bytes) {
  if (bytes > SIZE_MAX / 2) {
    throw Error(BPTT_OUT_OF_MEMORY, "out of memory: " + std::to_string(bytes) + " bytes asked");
  }
  ++allocations_;
  if (stream_) stream_->keep_house();
  const size_t capacity = size_class(bytes);
  Block* block = take_cached(capacity);
  if (!block) block = make_block(capacity);
  ++block->generation;
  ++live_;
  live_bytes_ += block->capacity;
  peak_ = std::max(peak_, live_bytes_);
  return Storage(shared_from_this(), block, bytes);
}

// The block that was released last of those that fit: it may still be in the cache.
Block* Allocator::take_cached(size_t capacity) {
  const size_t largest = capacity + capacity / 4;
  for (auto it = by_capacity_.lower_bound(capacity);
       it != by_capacity_.end() && it->first <= largest; ++it) {
    if (Block* block = it->second.newest()) {
      it->second.remove(block);
      cached_.remove(block);
      return block;
    }
  }
  return nullptr;
}

Block* Allocator::make_block(size_t capacity) {
  peak_ = std::max(peak_, live_bytes_ + capacity);
  const size_t keep = keep_limit();
  trim(keep - std::min(keep, capacity));
  auto block = std::make_unique<Block>();
  block->capacity = capacity;
  block->peers = &by_capacity_[capacity];
  block->data = allocate_on_device(capacity);
  total_bytes_ += capacity;
  return block.release();
}

void* Allocator::allocate_on_device(size_t capacity) {
  const bptt_backend& backend = device_->backend();
  void* data = nullptr;
  bptt_code code = backend.allocate(&context_, capacity, &data);
  if (code == BPTT_OUT_OF_MEMORY) {
    if (stream_) stream_->relieve();
    trim(0);
    if (stream_) stream_->wait(returned_);
    code = backend.allocate(&context_, capacity, &data);
  }
  if (code == BPTT_OUT_OF_MEMORY) {
    throw Error(code, "out of memory: " + std::to_string(capacity) + " bytes asked, " +
                          std::to_string(live_bytes_) + " bytes held by this thread's tensors");
  }
  if (code != BPTT_OK) throw Error(code, context_.message);
  return data;
}

// Called by destructors and finalizers.
void Allocator::recycle(Block* block) noexcept {
  --live_;
  live_bytes_ -= block->capacity;
  block->peers->add(block);
  cached_.add(block);
  if (!stream_ || (stream_->dormant() && stream_->idle())) trim(0);
}

// Where nothing was allocated for a whole period, nothing need be kept.
void Allocator::age() {
  const bool used = std::exchange(aged_allocations_, allocations_) != allocations_;
  const size_t peak = std::max(last_peak_, peak_);
  last_peak_ = std::exchange(peak_, live_bytes_);
  trim(used ? peak + peak / 4 : 0);
}

size_t Allocator::keep_limit() const {
  const size_t peak = std::max(peak_, last_peak_);
  return std::max(kKeepBytes, peak + peak / 4);
}

// Returns the blocks that have been unused longest, until the rest fits. Allocates nothing.
void Allocator::trim(size_t keep_total) {
  Blocks blocks;
  while (Block* block = total_bytes_ > keep_total ? cached_.oldest() : nullptr) {
    total_bytes_ -= block->capacity;
    block->peers->remove(block);
    cached_.remove(block);
    blocks.add(block);
  }
  if (blocks.oldest()) return_to_system(blocks);
}

void Allocator::return_to_system(Blocks blocks) {
  if (!stream_ || stream_->idle()) {
    destroy(blocks, device_->backend(), &context_);
    return;
  }
  struct Return {
    std::shared_ptr<Device> device;
    Blocks blocks;

    bptt_code operator()(bptt_context*) { return BPTT_OK; }
    void done(const FailurePtr&) {
      bptt_context context = device->context();
      device->backend().wait(&context);
      destroy(blocks, device->backend(), &context);
    }
  };
  try {
    returned_ = stream_->enqueue("release", {}, {}, Return{device_, blocks});
  } catch (...) {  // the stream has been closed while it waited for room: nothing runs any more
    destroy(blocks, device_->backend(), &context_);
    throw;
  }
}

void Allocator::destroy(Blocks blocks, const bptt_backend& backend, bptt_context* context) {
  while (Block* block = blocks.oldest()) {
    blocks.remove(block);
    backend.release(context, block->data);
    delete block;
  }
}

void Allocator::detach() {
  stream_ = nullptr;
  trim(0);
}

}  // namespace bptt
