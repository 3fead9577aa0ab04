// The caching allocator: sizes, reuse in stream order, trimming, running out.
#include "runtime/storage.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "fake_backend.h"
#include "runtime/stream.h"

using bptt::Allocator;
using bptt::Storage;
using bptt::Stream;
using bptt_test::fake;
using bptt_test::Gate;

namespace {

constexpr size_t kMiB = size_t{1} << 20;

// Only a stream that has run ops lately keeps what is released.
void run_an_op(Stream& stream) {
  stream.enqueue("op", {}, {}, [](bptt_context*) { return BPTT_OK; });
  stream.wait();
}

void size_classes() {
  CHECK(Allocator::size_class(0) == 64);
  CHECK(Allocator::size_class(1) == 64);
  CHECK(Allocator::size_class(64) == 64);
  CHECK(Allocator::size_class(65) == 128);
  CHECK(Allocator::size_class(kMiB) == kMiB);
  CHECK(Allocator::size_class(100 * kMiB + 1) == 101 * kMiB);
  size_t last = 0;
  for (size_t bytes = 1; bytes < 64 * kMiB; bytes += 1 + bytes / 37) {
    const size_t capacity = Allocator::size_class(bytes);
    CHECK_MSG(capacity >= bytes && capacity % 64 == 0, "%zu -> %zu", bytes, capacity);
    CHECK_MSG(capacity - bytes < 64 || (capacity - bytes) * 4 <= bytes, "%zu -> %zu", bytes,
              capacity);
    CHECK_MSG(Allocator::size_class(capacity) == capacity, "%zu is not its own class", capacity);
    CHECK(capacity >= last);
    last = capacity;
  }
}

void counts_and_reuse() {
  Stream stream(bptt_test::fake_backend());
  run_an_op(stream);
  Allocator& allocator = stream.allocator();
  Storage a = stream.allocate(1000);
  CHECK(a.bytes() == 1000 && a.data());
  CHECK(allocator.live_storages() == 1);
  CHECK(allocator.allocated_bytes() == Allocator::size_class(1000));
  void* block = a.data();
  const bptt::Operand first = a.operand();

  a.release();
  CHECK(!a && a.data() == nullptr && a.bytes() == 0);
  a.release();
  CHECK(allocator.live_storages() == 0 && allocator.allocated_bytes() == 0);
  CHECK(allocator.cached_bytes() == Allocator::size_class(1000));

  Storage b = stream.allocate(990);
  CHECK(b.data() == block);
  CHECK(b.operand().block == first.block && b.operand().generation != first.generation);
  Storage c = stream.allocate(900);
  CHECK(c.data() != block);
  Storage tiny = stream.allocate(0);
  CHECK(tiny.data() != nullptr);

  // A cached block serves a request up to a quarter smaller, not a tiny one.
  b.release();
  tiny.release();
  Storage small = stream.allocate(100);
  CHECK(small.data() != block);

  Storage moved = std::move(c);
  CHECK(!c && moved);
  moved = stream.allocate(5);
  allocator.trim();
  CHECK(allocator.cached_bytes() == 0);
}

// A block that is in use by queued ops may change hands but must not be freed.
void stream_order() {
  Stream stream(bptt_test::fake_backend());
  Gate gate;
  Storage a = stream.allocate(4096);
  auto* data = static_cast<int*>(a.data());
  const bptt::Operand operands[] = {a.operand()};
  stream.enqueue("wait", {}, {}, [&](bptt_context*) {
    gate.pass();
    return BPTT_OK;
  });
  bool intact = false;
  stream.enqueue("write", {}, operands, [=](bptt_context*) {
    data[7] = 42;
    return BPTT_OK;
  });
  stream.enqueue("read", operands, {}, [=, &intact](bptt_context*) {
    intact = data[7] == 42;
    return BPTT_OK;
  });
  const size_t blocks = fake.blocks;
  a.release();
  stream.allocator().trim();
  CHECK(stream.allocator().cached_bytes() == 0);
  CHECK(fake.blocks == blocks);
  gate.open();
  stream.wait();
  CHECK(intact);
  CHECK(fake.blocks == blocks - 1);
}

void out_of_memory() {
  Stream stream(bptt_test::fake_backend());
  fake.limit = fake.held + 10 * kMiB;
  {
    std::vector<Storage> held;
    for (int i = 0; i < 5; ++i) held.push_back(stream.allocate(kMiB));
    Gate gate;
    stream.enqueue("wait", {}, {}, [&](bptt_context*) {
      gate.pass();
      return BPTT_OK;
    });
    held.clear();
    gate.open();
    // Fits only once the five cached blocks are gone.
    Storage large = stream.allocate(8 * kMiB);
    CHECK(large && stream.allocator().cached_bytes() == 0);

    bool thrown = false;
    try {
      Storage more = stream.allocate(3 * kMiB);
    } catch (const bptt::Error& error) {
      thrown = true;
      CHECK(error.code() == BPTT_OUT_OF_MEMORY);
      const std::string message = error.what();
      CHECK_MSG(message.find(std::to_string(3 * kMiB)) != std::string::npos &&
                    message.find(std::to_string(8 * kMiB)) != std::string::npos,
                "%s", error.what());
    }
    CHECK(thrown);
    CHECK(stream.allocator().live_storages() == 1);
    Storage fits = stream.allocate(kMiB);
    CHECK(fits);
  }
  for (const size_t bytes : {SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 4}) {
    try {
      Storage huge = stream.allocate(bytes);
      CHECK(!"reached");
    } catch (const bptt::Error& error) {
      CHECK(error.code() == BPTT_OUT_OF_MEMORY);
    }
  }
  fake.limit = SIZE_MAX;
}

// Sizes that never repeat do not pile up in the cache.
void cache_is_bounded() {
  Stream stream(bptt_test::fake_backend());
  run_an_op(stream);
  std::mt19937 random(1);
  size_t peak_total = 0;
  for (int i = 0; i < 20000; ++i) {
    Storage a = stream.allocate(random() % (8 * kMiB));
    Storage b = stream.allocate(random() % 4096);
    const Allocator& allocator = stream.allocator();
    peak_total = std::max(peak_total, allocator.allocated_bytes() + allocator.cached_bytes());
  }
  CHECK_MSG(peak_total <= 256 * kMiB, "%zu", peak_total);
  // What a large phase used is returned once it is over.
  {
    Storage large = stream.allocate(size_t{1} << 30);
  }
  CHECK(stream.allocator().cached_bytes() >= size_t{1} << 30);
  // Kept for the period in which it was live and the one after.
  stream.allocator().age();
  CHECK(stream.allocator().cached_bytes() >= size_t{1} << 30);
  Storage(stream.allocate(64)).release();
  stream.allocator().age();
  Storage(stream.allocate(64)).release();
  stream.allocator().age();
  CHECK_MSG(stream.allocator().cached_bytes() <= kMiB, "%zu", stream.allocator().cached_bytes());
  // A period without an allocation: nothing is kept.
  stream.allocator().age();
  CHECK(stream.allocator().cached_bytes() == 0);
}

// Without a call of its owner, the executor says when the cache is old, and ends dormant.
void idle_memory_is_returned() {
  std::atomic<int> asked{0};
  Stream stream(bptt_test::fake_backend(), 0, {.ageing = std::chrono::milliseconds(5)},
                {.waiting = {}, .housework = [&] { ++asked; }, .pressure = {}});
  CHECK(stream.dormant());
  const int trims = fake.trims;
  Storage large = stream.allocate(8 * kMiB);
  stream.enqueue("op", {}, {}, [](bptt_context*) { return BPTT_OK; });
  const size_t blocks = fake.blocks;
  large.release();
  while (!stream.dormant() || fake.trims == trims || asked < 3) std::this_thread::yield();
  stream.keep_house();
  stream.keep_house();
  stream.allocator().age();
  CHECK(stream.allocator().cached_bytes() == 0 && fake.blocks == blocks - 1);
  // What is released by then is not kept.
  Storage late = stream.allocate(kMiB);
  late.release();
  CHECK(stream.allocator().cached_bytes() == 0);
}

void empty_cache() {
  Stream stream(bptt_test::fake_backend());
  const int trims = fake.trims;
  Gate gate;
  stream.enqueue("wait", {}, {}, [&](bptt_context*) {
    gate.pass();
    return BPTT_OK;
  });
  Storage a = stream.allocate(kMiB);
  const size_t blocks = fake.blocks;
  a.release();
  stream.empty_cache();
  CHECK(fake.blocks == blocks && fake.trims == trims);
  gate.open();
  stream.wait();
  CHECK(fake.blocks == blocks - 1 && fake.trims == trims + 1);
}

void outlives_the_stream() {
  Storage survivor;
  {
    Stream stream(bptt_test::fake_backend());
    survivor = stream.allocate(100);
    Storage cached = stream.allocate(5000);
  }
  CHECK(fake.blocks == 1 && fake.open == 1);
  static_cast<char*>(survivor.data())[99] = 1;
  survivor.release();
  CHECK(fake.blocks == 0 && fake.open == 0);
}

}  // namespace

int main() {
  size_classes();
  counts_and_reuse();
  stream_order();
  out_of_memory();
  cache_is_bounded();
  idle_memory_is_returned();
  empty_cache();
  CHECK(fake.blocks == 0 && fake.held == 0 && fake.open == 0);
  outlives_the_stream();
  return bptt_test::finish();
}
