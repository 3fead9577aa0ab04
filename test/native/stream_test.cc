// The stream: order, poison, bounds, reads and closing.
#include "runtime/stream.h"

#include <array>
#include <chrono>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "fake_backend.h"

using bptt::FailurePtr;
using bptt::Operand;
using bptt::Storage;
using bptt::Stream;
using bptt_test::fake;
using bptt_test::fake_backend;
using bptt_test::Gate;

namespace {

bptt_code fail(bptt_context* context, bptt_code code, const char* message) {
  std::snprintf(context->message, sizeof(context->message), "%s", message);
  return code;
}

// Enqueues out = value, or a failure.
void write(Stream& stream, const char* op, std::vector<Operand> inputs, const Storage& out,
           int value, bool fails = false) {
  const Operand output = out.operand();
  auto* data = static_cast<int*>(out.data());
  stream.enqueue(op, inputs, {&output, 1}, [=](bptt_context* context) {
    if (fails) return fail(context, BPTT_INDEX, "index 7 is out of range");
    *data = value;
    return BPTT_OK;
  });
}

// The value, or -code of the failure.
int value_of(Stream& stream, const Storage& storage, std::string* message = nullptr) {
  int value = 0;
  try {
    stream.read_sync(storage, &value, sizeof(value));
  } catch (const bptt::Error& error) {
    if (message) *message = error.what();
    return -error.code();
  }
  return value;
}

// What synchronize() reports.
FailurePtr synchronize(Stream& stream) {
  FailurePtr result;
  stream.synchronize([&](const FailurePtr& failure) { result = failure; });
  stream.wait();
  return result;
}

void hold(Stream& stream, Gate& gate) {
  stream.enqueue("hold", {}, {}, [&gate](bptt_context*) {
    gate.pass();
    return BPTT_OK;
  });
}

void order() {
  Stream stream(fake_backend(), 0, {.ops = 16});
  std::vector<int> seen;
  const auto owner = std::this_thread::get_id();
  bool elsewhere = true;
  for (int i = 0; i < 1000; ++i) {
    stream.enqueue("push", {}, {}, [&, i](bptt_context*) {
      seen.push_back(i);
      elsewhere = elsewhere && std::this_thread::get_id() != owner;
      return BPTT_OK;
    });
  }
  stream.wait();
  CHECK(stream.idle() && seen.size() == 1000 && elsewhere);
  for (int i = 0; i < 1000; ++i) CHECK(seen[i] == i);
}

void poison() {
  Stream stream(fake_backend());
  Storage a = stream.allocate(4), b = stream.allocate(4), c = stream.allocate(4);
  Storage d = stream.allocate(4);
  write(stream, "first", {}, a, 1);
  write(stream, "embedding", {a.operand()}, b, 2, true);
  write(stream, "after", {a.operand(), b.operand()}, c, 3);
  write(stream, "second", {a.operand()}, d, 4, true);
  std::string message;
  CHECK(value_of(stream, a) == 1);
  CHECK(value_of(stream, c, &message) == -BPTT_INDEX);
  CHECK_MSG(message == "[embedding] index 7 is out of range", "%s", message.c_str());

  // An update lists its parameter as no output: it is skipped, and unharmed.
  bool updated = false;
  const Operand gradient = c.operand();
  stream.enqueue("optimize", {&gradient, 1}, {}, [&](bptt_context*) {
    updated = true;
    return BPTT_OK;
  });
  FailurePtr failure = synchronize(stream);
  CHECK(failure && failure->message == "[embedding] index 7 is out of range");
  CHECK(!updated);
  CHECK(synchronize(stream) == nullptr);
  CHECK(value_of(stream, c) == -BPTT_INDEX);
  CHECK(synchronize(stream) == nullptr);

  // The next owner of a poisoned block is not poisoned; an upload cleans too.
  void* block = c.data();
  c.release();
  Storage e = stream.allocate(4);
  CHECK(e.data() == block);
  write(stream, "fresh", {}, e, 5);
  CHECK(value_of(stream, e) == 5);
  const int six = 6;
  stream.upload(b, &six, sizeof(six));
  CHECK(value_of(stream, b) == 6);
  Gate gate;
  hold(stream, gate);
  stream.upload(d, &six, sizeof(six));
  gate.open();
  CHECK(value_of(stream, d) == 6);

  // A failed op reported before its poisoned storage changed hands.
  write(stream, "third", {}, e, 0, true);
  e.release();
  Storage f = stream.allocate(4);
  write(stream, "fresh", {}, f, 7);
  CHECK(value_of(stream, f) == 7);
}

void many_operands() {
  Stream stream(fake_backend());
  std::vector<Storage> storages;
  std::vector<Operand> inputs, outputs;
  for (int i = 0; i < 40; ++i) {
    storages.push_back(stream.allocate(4));
    write(stream, "init", {}, storages.back(), i, i == 17);
    (i < 20 ? inputs : outputs).push_back(storages.back().operand());
  }
  std::array<char, 300> large{};  // does not fit into a slot
  large[299] = 9;
  auto token = std::make_shared<int>(0);
  bool ran = false;
  stream.enqueue("many", inputs, outputs, [&ran, large, token](bptt_context*) {
    ran = large[299] == 9;
    return BPTT_OK;
  });
  CHECK(value_of(stream, storages[39]) == -BPTT_INDEX);
  CHECK(value_of(stream, storages[20]) == -BPTT_INDEX);
  CHECK(value_of(stream, storages[19]) == 19);
  CHECK(!ran && token.use_count() == 1);
  inputs.erase(inputs.begin() + 17);
  stream.enqueue("many", inputs, {}, [&ran, large, token](bptt_context*) {
    ran = large[299] == 9;
    return BPTT_OK;
  });
  stream.wait();
  CHECK(ran && token.use_count() == 1);
}

void bounded_ops() {
  Stream stream(fake_backend(), 0, {.ops = 8});
  Gate gate;
  hold(stream, gate);
  std::thread opener([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    gate.open();
  });
  const auto start = std::chrono::steady_clock::now();
  size_t most = 0;
  for (int i = 0; i < 20; ++i) {
    stream.enqueue("op", {}, {}, [](bptt_context*) { return BPTT_OK; });
    most = std::max(most, stream.queued());
  }
  CHECK(std::chrono::steady_clock::now() - start >= std::chrono::milliseconds(25));
  CHECK_MSG(most <= 8, "%zu", most);
  opener.join();
  stream.wait();
}

// A full queue keeps its owner for one op, however long the others are.
void room_for_one() {
  Stream stream(fake_backend(), 0, {.ops = 8, .room = std::chrono::microseconds(100)});
  Gate gates[16];
  for (int i = 0; i < 8; ++i) hold(stream, gates[i]);
  gates[0].open();
  hold(stream, gates[8]);
  CHECK(stream.queued() == 8);
  for (Gate& gate : gates) gate.open();
  stream.wait();
}

// A wait asks now and then whether it is still wanted, and may be left by an exception.
void abandoned_wait() {
  Stream* waiting = nullptr;
  Stream stream(fake_backend(), 0, {},
                {.waiting =
                     [&] {
                       waiting->close();
                       throw 7;
                     },
                 .housework = {},
                 .pressure = {}});
  waiting = &stream;
  stream.enqueue("long", {}, {}, [](bptt_context* context) {
    while (!context->cancelled(context->cancelled_arg)) std::this_thread::yield();
    return BPTT_OK;
  });
  Storage a = stream.allocate(4);
  int value = 0, thrown = 0;
  try {
    stream.read_sync(a, &value, sizeof(value));
  } catch (int number) {
    thrown = number;
  }
  CHECK(thrown == 7 && stream.idle());
}

// Ops that belong together: what is prepared runs when it is published, or never.
void prepared() {
  Stream one(fake_backend()), other(fake_backend(), 0, {.ops = 2});
  std::string ran;
  const auto note = [&ran](char name) {
    struct Note {
      std::string* ran;
      char name;
      bptt_code operator()(bptt_context*) {
        *ran += name;
        return BPTT_OK;
      }
      void done(const FailurePtr& failure) {
        if (failure) *ran += failure->code == BPTT_CANCELLED ? '-' : '?';
      }
    };
    return Note{&ran, name};
  };
  {
    Stream::Prepared a = one.prepare("a", {}, {}, note('a'));
    Stream::Prepared b = other.prepare("b", {}, {}, note('b'));
    CHECK(one.idle() && other.idle());
    one.wait(a.publish());
    other.wait(b.publish());
  }
  CHECK_MSG(ran == "ab", "%s", ran.c_str());
  ran.clear();
  other.close();
  bptt_code code = BPTT_OK;
  try {
    Stream::Prepared a = one.prepare("a", {}, {}, note('a'));
    Stream::Prepared moved = std::move(a);
    other.prepare("b", {}, {}, note('b')).publish();
  } catch (const bptt::Error& error) {
    code = error.code();
  }
  CHECK(code == BPTT_CANCELLED && one.idle());
  CHECK_MSG(ran == "-", "%s", ran.c_str());
  Storage x = one.allocate(4);
  write(one, "next", {}, x, 3);
  CHECK(value_of(one, x) == 3);
}

void bounded_bytes() {
  Stream stream(fake_backend(), 0, {.ops = 64, .staged_bytes = 1000});
  Storage a = stream.allocate(600), b = stream.allocate(600), c = stream.allocate(5000);
  std::vector<char> ones(600, 1), twos(600, 2), threes(5000, 3);
  Gate gate;
  hold(stream, gate);
  stream.upload(a, ones.data(), ones.size());
  std::thread opener([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    gate.open();
  });
  const auto start = std::chrono::steady_clock::now();
  stream.upload(b, twos.data(), twos.size());  // 1200 bytes would wait
  CHECK(std::chrono::steady_clock::now() - start >= std::chrono::milliseconds(25));
  opener.join();
  stream.enqueue("busy", {}, {}, [](bptt_context*) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return BPTT_OK;
  });
  stream.upload(c, threes.data(), threes.size());  // more than the limit, alone
  std::memset(threes.data(), 0, threes.size());
  std::vector<char> back(5000);
  stream.read_sync(a, back.data(), 600);
  CHECK(back[0] == 1 && back[599] == 1);
  stream.read_sync(b, back.data(), 600);
  CHECK(back[0] == 2 && back[599] == 2);
  stream.read_sync(c, back.data(), 5000);
  CHECK(back[0] == 3 && back[4999] == 3);
}

void closing() {
  std::vector<bptt_code> ends;
  auto note = [&ends](const FailurePtr& failure) {
    ends.push_back(failure ? failure->code : BPTT_OK);
  };
  auto stream = std::make_unique<Stream>(fake_backend());
  Storage a = stream->allocate(4);
  int value = 0;
  write(*stream, "init", {}, a, 1);
  stream->read(a, &value, sizeof(value), note);
  stream->wait();
  std::atomic<bool> running{false};
  stream->enqueue("long", {}, {}, [&](bptt_context* context) {
    running = true;
    while (!context->cancelled(context->cancelled_arg)) std::this_thread::yield();
    return BPTT_CANCELLED;
  });
  stream->read(a, &value, sizeof(value), note);
  stream->synchronize(note);
  auto token = std::make_shared<int>(0);
  stream->enqueue("dropped", {}, {}, [token](bptt_context*) {
    CHECK(!"reached");
    return BPTT_OK;
  });
  while (!running) std::this_thread::yield();
  stream->close();
  CHECK(token.use_count() == 1);
  CHECK(ends.size() == 3 && ends[0] == BPTT_OK && ends[1] == BPTT_CANCELLED &&
        ends[2] == BPTT_CANCELLED);
  int code = 0;
  try {
    stream->enqueue("late", {}, {}, [](bptt_context*) { return BPTT_OK; });
  } catch (const bptt::Error& error) {
    code = error.code();
  }
  CHECK(code == BPTT_CANCELLED);
  stream->wait();
  stream.reset();

  {
    Stream never_started(fake_backend());
  }
  code = 0;
  try {
    Stream stream_on_nothing(fake_backend(), 3);
  } catch (const bptt::Error& error) {
    code = error.code();
    CHECK(std::string(error.what()) == "no device 3");
  }
  CHECK(code == BPTT_DEVICE);
}

// Sleeps and wake-ups on both sides, from several streams at once.
void stress() {
  std::vector<std::thread> owners;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 3; ++t) {
    owners.emplace_back([&wrong, t] {
      Stream stream(fake_backend(), 0, {.ops = 8, .staged_bytes = 64});
      for (int i = 0; i < 1500; ++i) {
        Storage x = stream.allocate(sizeof(int));
        Storage y = stream.allocate(sizeof(int));
        const int number = i * 3 + t;
        stream.upload(x, &number, sizeof(number));
        const Operand in = x.operand(), out = y.operand();
        stream.enqueue("next", {&in, 1}, {&out, 1},
                       [source = static_cast<int*>(x.data()),
                        target = static_cast<int*>(y.data())](bptt_context*) {
                         *target = *source + 1;
                         return BPTT_OK;
                       });
        x.release();
        if (i % 100 == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));
        if (i % 5 == 0) {
          int result = 0;
          stream.read_sync(y, &result, sizeof(result));
          if (result != number + 1) ++wrong;
        }
      }
    });
  }
  for (std::thread& owner : owners) owner.join();
  CHECK(wrong == 0);
}

}  // namespace

int main() {
  order();
  poison();
  many_operands();
  bounded_ops();
  room_for_one();
  abandoned_wait();
  prepared();
  bounded_bytes();
  closing();
  stress();
  CHECK(fake.blocks == 0 && fake.open == 0);
  return bptt_test::finish();
}
