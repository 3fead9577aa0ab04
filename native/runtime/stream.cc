#include "runtime/stream.h"

#include <algorithm>
#include <system_error>

#include "runtime/float_mode.h"
#include "runtime/memory.h"
#include "runtime/running.h"
#include "runtime/spin.h"

namespace bptt {

namespace {

// Ageing periods without an op after which a stream is dormant and caches nothing.
constexpr int kAgesToDormancy = 3;
// A busy executor reads the clock once in so many ops.
constexpr uint64_t kOpsPerLook = 16;

}  // namespace

Stream::Stream(const bptt_backend* backend, int device_index, StreamLimits limits,
               StreamHooks hooks)
    : device_(std::make_shared<Device>(backend, device_index)),
      allocator_(std::make_shared<Allocator>(device_, this)),
      host_context_(device_->context()),
      limits_(limits),
      hooks_(std::move(hooks)),
      context_(device_->context()),
      cancelled_failure_(std::make_shared<Failure>(
          Failure{BPTT_CANCELLED, "cancelled: the environment is shutting down"})),
      no_memory_failure_(
          std::make_shared<Failure>(Failure{BPTT_OUT_OF_MEMORY, "out of memory while an op ran"})) {
  context_.cancelled_arg = this;
  context_.cancelled = [](void* stream) -> int {
    return static_cast<Stream*>(stream)->cancelled_.load(std::memory_order_relaxed);
  };
}

// -- the owner's thread --------------------------------------------------------

void Stream::start() {
  if (!ring_) ring_ = std::make_unique<Task[]>(limits_.ops);
  try {
    thread_ = std::thread([this] { execute(); });
  } catch (const std::system_error& error) {
    throw Error(BPTT_OUT_OF_MEMORY,
                std::string("no thread to be had for the work of this environment: ") +
                    error.what() + "; raise the limit of processes or of memory");
  }
}

Stream::Task& Stream::next_slot(size_t staged) {
  if (closed_) throw Error(*cancelled_failure_);
  if (!thread_.joinable()) start();
  if (queued() >= limits_.ops) make_room();
  while (staged > 0 && queued() > 0 &&
         staged_bytes_.load(std::memory_order_relaxed) + staged > limits_.staged_bytes) {
    wait(finished_.load(std::memory_order_relaxed) + 1);
  }
  return ring_[enqueued_.load(std::memory_order_relaxed) % limits_.ops];
}

// Half the queue where ops are so brief that the threads would alternate op by op, else one
// slot: the owner has other things to do than to wait for ops it does not need.
void Stream::make_room() {
  const uint64_t ticket = enqueued_.load(std::memory_order_relaxed);
  if (!wait_for(ticket - limits_.ops / 2, limits_.room)) wait(ticket + 1 - limits_.ops);
}

void Stream::set_operands(Task& task, Operands inputs, Operands outputs) {
  task.input_count = static_cast<uint32_t>(inputs.size());
  task.output_count = static_cast<uint32_t>(outputs.size());
  task.many.clear();
  if (inputs.size() + outputs.size() <= kInlineOperands) {
    std::copy(outputs.begin(), outputs.end(), std::copy(inputs.begin(), inputs.end(), task.few));
  } else {
    task.many.assign(inputs.begin(), inputs.end());
    task.many.insert(task.many.end(), outputs.begin(), outputs.end());
  }
}

// Sleeping and waking pair up by sequential consistency: whoever goes to sleep
// says so before its last look at the counter, whoever moves the counter does so
// before it looks for sleepers.
uint64_t Stream::publish(size_t staged) {
  if (staged > 0) staged_bytes_.fetch_add(staged, std::memory_order_relaxed);
  const uint64_t ticket = enqueued_.load(std::memory_order_relaxed) + 1;
  enqueued_.store(ticket, std::memory_order_seq_cst);
  if (executor_sleeps_.load(std::memory_order_seq_cst)) {
    {
      std::lock_guard lock(mutex_);
    }
    work_ready_.notify_one();
  }
  return ticket;
}

void Stream::wait(uint64_t ticket) {
  while (!wait_for(ticket, kLookTime)) {
    if (hooks_.waiting) hooks_.waiting();
  }
}

// Whether the op of the ticket has finished within the limit.
bool Stream::wait_for(uint64_t ticket, std::chrono::microseconds limit) {
  const auto finished = [&] { return finished_.load(std::memory_order_seq_cst) >= ticket; };
  if (spin_until(finished)) return true;
  std::unique_lock lock(mutex_);
  owner_sleeps_until_.store(ticket, std::memory_order_seq_cst);
  const bool in_time = work_finished_.wait_for(lock, limit, finished);
  owner_sleeps_until_.store(UINT64_MAX, std::memory_order_relaxed);
  return in_time;
}

void Stream::age() {
  housework_.store(false, std::memory_order_relaxed);
  allocator_->age();
}

void Stream::empty_cache() {
  allocator_->trim();
  if (!thread_.joinable()) return trim_heap();
  enqueue("empty cache", {}, {}, [this](bptt_context* context) {
    backend().trim(context);
    trim_heap();
    return BPTT_OK;
  });
}

void Stream::upload(const Storage& storage, const void* host, size_t bytes) {
  if (closed_) throw Error(*cancelled_failure_);
  if (idle()) {
    bptt_code code = backend().upload(&host_context_, storage.data(), host, bytes);
    if (code == BPTT_OK) code = backend().wait(&host_context_);
    if (code != BPTT_OK) throw Error(code, host_context_.message);
    storage.operand().set_poison(nullptr);
    return;
  }
  struct Upload {
    const bptt_backend* backend;
    Operand target;
    void* device;
    HostBlock staging;
    size_t bytes;

    bptt_code operator()(bptt_context* context) {
      const bptt_code code = backend->upload(context, device, staging.get(), bytes);
      return code == BPTT_OK ? backend->wait(context) : code;
    }
    void done(const FailurePtr& failure) { target.set_poison(failure); }
  };
  HostBlock staging(static_cast<unsigned char*>(allocate_host(bytes)));
  if (!staging) {
    throw Error(BPTT_OUT_OF_MEMORY,
                "out of memory: " + std::to_string(bytes) + " bytes asked for a copy");
  }
  std::copy_n(static_cast<const unsigned char*>(host), bytes, staging.get());
  push("upload", {}, {},
       Upload{&backend(), storage.operand(), storage.data(), std::move(staging), bytes}, bytes);
}

void Stream::read_sync(const Storage& storage, void* host, size_t bytes) {
  FailurePtr failure;
  wait(read(storage, host, bytes, [&failure](const FailurePtr& f) { failure = f; }));
  if (failure) throw Error(*failure);
}

void Stream::close() {
  if (closed_) return;
  closed_ = true;
  cancelled_.store(true, std::memory_order_seq_cst);
  if (thread_.joinable()) {
    {
      std::lock_guard lock(mutex_);
    }
    work_ready_.notify_one();
    thread_.join();
  }
  allocator_->detach();
}

// -- the executor's thread -------------------------------------------------------

void Stream::execute() {
  FlushDenormals mode;
  aged_ = std::chrono::steady_clock::now();
  dormant_.store(false, std::memory_order_relaxed);
  for (uint64_t finished = 0; await_work(finished);) {
    if (finished % kOpsPerLook == 0) look_at_clock();
    Task& task = ring_[finished % limits_.ops];
    const FailurePtr failure = run(task);
    if (failure) {
      for (const Operand& output : task.outputs()) output.set_poison(failure);
    }
    const size_t staged = task.staged_bytes;
    task.finish(task.work, failure);
    if (staged > 0) staged_bytes_.fetch_sub(staged, std::memory_order_relaxed);
    finished_.store(++finished, std::memory_order_seq_cst);
    if (owner_sleeps_until_.load(std::memory_order_seq_cst) <= finished) {
      {
        std::lock_guard lock(mutex_);
      }
      work_finished_.notify_one();
    }
  }
}

// False when the stream closes and nothing is left in the queue.
bool Stream::await_work(uint64_t finished) {
  auto ready = [&] {
    return enqueued_.load(std::memory_order_seq_cst) > finished ||
           cancelled_.load(std::memory_order_seq_cst);
  };
  if (!spin_until(ready)) {
    look_at_clock();
    std::unique_lock lock(mutex_);
    executor_sleeps_.store(true, std::memory_order_seq_cst);
    int ages = 0;
    while (ages < kAgesToDormancy && !work_ready_.wait_for(lock, limits_.ageing, ready)) {
      lock.unlock();
      if (++ages == kAgesToDormancy) backend().trim(&context_);
      dormant_.store(ages == kAgesToDormancy, std::memory_order_relaxed);
      ask_for_housework();
      lock.lock();
    }
    work_ready_.wait(lock, ready);
    dormant_.store(false, std::memory_order_relaxed);
    executor_sleeps_.store(false, std::memory_order_relaxed);
  }
  return enqueued_.load(std::memory_order_acquire) > finished;
}

void Stream::look_at_clock() {
  if (std::chrono::steady_clock::now() - aged_ >= limits_.ageing) ask_for_housework();
}

// Asked while there is work, the owner sees it when it next allocates.
void Stream::ask_for_housework() {
  aged_ = std::chrono::steady_clock::now();
  housework_.store(true, std::memory_order_relaxed);
  if (idle() && hooks_.housework) hooks_.housework();
}

// Null, or why the outputs are not what they should be.
FailurePtr Stream::run(Task& task) noexcept {
  if (cancelled_.load(std::memory_order_relaxed)) return cancelled_failure_;
  for (const Operand& input : task.inputs()) {
    if (const FailurePtr* poison = input.poison()) return *poison;
  }
  context_.message[0] = '\0';
  const RunningOp running(&context_);
  FailurePtr failure;
  try {
    const bptt_code code = task.run(task.work, &context_);
    if (cancelled_.load(std::memory_order_relaxed)) return cancelled_failure_;
    if (code == BPTT_OK) return nullptr;
    if (code == BPTT_CANCELLED) return cancelled_failure_;
    failure = std::make_shared<Failure>(
        Failure{code, std::string("[") + task.op + "] " + context_.message});
  } catch (...) {  // what throws here is an allocation: of a message, if not of the op
    failure = no_memory_failure_;
  }
  if (!first_failure_) first_failure_ = failure;
  return failure;
}

}  // namespace bptt
