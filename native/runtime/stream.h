// The in-order executor: ops are enqueued on one thread and run on another.
//
// A stream belongs to the thread that created it; only the ops run elsewhere.
// An op that fails poisons its outputs; an op that reads poison is skipped and
// passes it on. The queue is bounded; at the limit enqueue() waits for room.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <span>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "backend.h"
#include "runtime/error.h"
#include "runtime/storage.h"

namespace bptt {

struct StreamLimits {
  size_t ops = 1024;
  size_t staged_bytes = size_t{256} << 20;  // copies of uploads that wait in the queue
  // How long a full queue may keep its owner for more room than one op needs.
  std::chrono::microseconds room{2000};
  // Cached memory that was not used for one to two of these goes back to the system.
  std::chrono::milliseconds ageing{3000};
};

// Callbacks of whoever embeds a stream; each may be empty.
struct StreamHooks {
  // On the owner's thread, every kLookTime of a wait. May close the stream and throw.
  std::function<void()> waiting;
  // On the executor's, when the cache is old and nothing is queued: asks the owner, who may not
  // call for long, to call keep_house().
  std::function<void()> housework;
  // On the owner's: memory has run out, forgotten storages should be released.
  std::function<void()> pressure;
};

class Stream {
  struct Task;

 public:
  using Operands = std::span<const Operand>;

  static constexpr std::chrono::milliseconds kLookTime{50};

  explicit Stream(const bptt_backend* backend, int device_index = 0, StreamLimits limits = {},
                  StreamHooks hooks = {});
  ~Stream() { close(); }
  Stream(const Stream&) = delete;

  const bptt_backend& backend() const { return device_->backend(); }
  const bptt_ops& ops() const { return backend().ops; }
  Allocator& allocator() { return *allocator_; }
  // For entries that may be called on the owner's thread, such as plan_create.
  bptt_context* host_context() { return &host_context_; }

  Storage allocate(size_t bytes) { return allocator_->allocate(bytes); }

  // Runs work(bptt_context*) -> bptt_code in order, unless an input is poisoned.
  // `op` is a literal: it names the op in messages. If work has a member
  // done(const FailurePtr&), it is called once, after the work or instead of it;
  // also when the stream closes first. Returns a ticket for wait().
  template <class Work>
  uint64_t enqueue(const char* op, Operands inputs, Operands outputs, Work work) {
    return push(op, inputs, outputs, std::move(work), 0);
  }

  // An op that has all it needs and is not in the queue yet. Until it is published, or
  // destroyed without that, nothing else may be enqueued on its stream.
  class Prepared {
   public:
    Prepared(Prepared&& other) noexcept
        : stream_(std::exchange(other.stream_, nullptr)), task_(other.task_) {}
    Prepared& operator=(Prepared&&) = delete;
    ~Prepared() {
      if (stream_) task_->finish(task_->work, stream_->cancelled_failure_);
    }

    // Cannot fail. Returns a ticket for wait().
    uint64_t publish() { return std::exchange(stream_, nullptr)->publish(task_->staged_bytes); }

   private:
    friend class Stream;
    Prepared(Stream* stream, Task* task) : stream_(stream), task_(task) {}

    Stream* stream_;
    Task* task_;
  };

  // The first part of enqueue(), which is all that can fail: for ops of several streams that
  // belong together.
  template <class Work>
  [[nodiscard]] Prepared prepare(const char* op, Operands inputs, Operands outputs, Work work) {
    return prepare(op, inputs, outputs, std::move(work), 0);
  }

  // Copies `bytes` of host memory before it returns. The storage loses its poison.
  void upload(const Storage& storage, const void* host, size_t bytes);

  // Copies into host memory, which must stay valid until done(const FailurePtr&). It is
  // called once, unless read() throws.
  template <class Done>
  uint64_t read(const Storage& storage, void* host, size_t bytes, Done done) {
    const Operand operand = storage.operand();
    return push("read", {&operand, 1}, {},
                Read<Done>{&backend(), storage.data(), host, bytes, std::move(done)}, 0);
  }
  // As read(), and waits for it. Throws what poisons the storage.
  void read_sync(const Storage& storage, void* host, size_t bytes);

  // Calls done on the executor when everything enqueued before is done, with the
  // first failure since the last synchronization.
  template <class Done>
  void synchronize(Done done) {
    push("synchronize", {}, {}, Synchronize<Done>{this, std::move(done)}, 0);
  }

  // Waits for the op of a ticket, or for all.
  void wait(uint64_t ticket);
  void wait() { wait(enqueued_.load(std::memory_order_relaxed)); }
  bool idle() const { return queued() == 0; }
  // No op has run for several ageing periods: memory that is released now is not cached.
  bool dormant() const { return dormant_.load(std::memory_order_relaxed); }
  size_t queued() const {
    return enqueued_.load(std::memory_order_relaxed) - finished_.load(std::memory_order_acquire);
  }

  // Lets cached memory age, once per period. It costs a look at a flag.
  void keep_house() {
    if (housework_.load(std::memory_order_relaxed)) age();
  }
  // Gives all that is cached back to the system when the work before is done.
  void empty_cache();
  // Memory has run out.
  void relieve() {
    if (hooks_.pressure) hooks_.pressure();
  }

  // Cancels what is queued, waits for the op in progress, ends the thread.
  void close();

 private:
  static constexpr size_t kInlineWork = 256;
  static constexpr size_t kInlineOperands = 8;

  struct Task {
    const char* op;
    bptt_code (*run)(void* work, bptt_context*);
    void (*finish)(void* work, const FailurePtr&);  // calls done, then destroys the work
    void* work;
    size_t staged_bytes;
    uint32_t input_count, output_count;
    Operand few[kInlineOperands];  // inputs, then outputs
    std::vector<Operand> many;     // instead, where they do not fit
    alignas(std::max_align_t) unsigned char inline_work[kInlineWork];

    Operands inputs() const { return {all(), input_count}; }
    Operands outputs() const { return {all() + input_count, output_count}; }

   private:
    const Operand* all() const { return many.empty() ? few : many.data(); }
  };

  template <class Done>
  struct Read {
    const bptt_backend* backend;
    const void* device;
    void* host;
    size_t bytes;
    Done callback;

    bptt_code operator()(bptt_context* context) {
      const bptt_code code = backend->download(context, host, device, bytes);
      return code == BPTT_OK ? backend->wait(context) : code;
    }
    void done(const FailurePtr& failure) { callback(failure); }
  };

  template <class Done>
  struct Synchronize {
    Stream* stream;
    Done callback;

    bptt_code operator()(bptt_context* context) { return stream->backend().wait(context); }
    void done(const FailurePtr& failure) {
      FailurePtr first = std::move(stream->first_failure_);
      stream->first_failure_ = nullptr;
      callback(first ? first : failure);
    }
  };

  template <class Work>
  static void finish_work(Work& work, const FailurePtr& failure) {
    if constexpr (requires { work.done(failure); }) work.done(failure);
  }

  template <class Work>
  uint64_t push(const char* op, Operands inputs, Operands outputs, Work work, size_t staged) {
    return prepare(op, inputs, outputs, std::move(work), staged).publish();
  }

  template <class Work>
  Prepared prepare(const char* op, Operands inputs, Operands outputs, Work work, size_t staged) {
    Task& task = next_slot(staged);
    set_operands(task, inputs, outputs);
    task.op = op;
    task.staged_bytes = staged;
    task.run = [](void* w, bptt_context* context) { return (*static_cast<Work*>(w))(context); };
    if constexpr (sizeof(Work) <= kInlineWork && alignof(Work) <= alignof(std::max_align_t)) {
      task.work = new (task.inline_work) Work(std::move(work));
      task.finish = [](void* w, const FailurePtr& failure) {
        finish_work(*static_cast<Work*>(w), failure);
        static_cast<Work*>(w)->~Work();
      };
    } else {
      task.work = new Work(std::move(work));
      task.finish = [](void* w, const FailurePtr& failure) {
        finish_work(*static_cast<Work*>(w), failure);
        delete static_cast<Work*>(w);
      };
    }
    return Prepared(this, &task);
  }

  Task& next_slot(size_t staged);
  void make_room();
  bool wait_for(uint64_t ticket, std::chrono::microseconds limit);
  void age();
  static void set_operands(Task& task, Operands inputs, Operands outputs);
  uint64_t publish(size_t staged);
  void start();
  void execute();
  bool await_work(uint64_t finished);
  void look_at_clock();
  void ask_for_housework();
  FailurePtr run(Task& task) noexcept;

  std::shared_ptr<Device> device_;
  std::shared_ptr<Allocator> allocator_;
  bptt_context host_context_;
  const StreamLimits limits_;
  const StreamHooks hooks_;
  std::unique_ptr<Task[]> ring_;
  std::thread thread_;
  bool closed_ = false;

  // The executor's.
  bptt_context context_;
  FailurePtr first_failure_, cancelled_failure_, no_memory_failure_;
  std::chrono::steady_clock::time_point aged_;

  // Between the two threads. A ring slot is the owner's until enqueued_ passes it
  // and again once finished_ has.
  std::atomic<uint64_t> enqueued_{0}, finished_{0};
  std::atomic<size_t> staged_bytes_{0};
  std::atomic<bool> cancelled_{false};
  std::mutex mutex_;  // guards no data: only going to sleep on the conditions
  std::condition_variable work_ready_, work_finished_;
  std::atomic<bool> dormant_{true}, housework_{false};
  std::atomic<bool> executor_sleeps_{false};
  std::atomic<uint64_t> owner_sleeps_until_{UINT64_MAX};
};

}  // namespace bptt
