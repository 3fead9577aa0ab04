// Storages as JavaScript sees them. A handle is an External that holds a number:
// a slot of the table and which owner of the slot is meant, so that a handle that
// outlives its storage is recognized.
//
// A released handle leaves nothing for the collector to finalize: finalizers run
// only between turns of the event loop, and a program may not turn for hours. For the
// same reason forgotten handles are swept where many have come.
#pragma once

#include <node_api.h>

#include <cstdint>
#include <vector>

#include "runtime/stream.h"

namespace bptt::addon {

// Belongs to the environment, and to the finalizers of its handles, which may
// run later.
class HandleTable {
 public:
  HandleTable() = default;
  HandleTable(const HandleTable&) = delete;
  // In place of the destructor: the environment is gone.
  void abandon();

  napi_value add(napi_env env, Storage storage);
  // The storage of a handle, or null when it has been released. Throws for other values.
  Storage* find(napi_env env, napi_value handle);
  void release(napi_env env, napi_value handle);

  // Lets go of the handles that the collector has found to be forgotten, whose finalizers wait
  // for a turn of the event loop.
  void sweep(napi_env env);
  // The same where enough was added since for it to be worth while.
  void sweep_if_grown(napi_env env) {
    if (live_ >= least_.count + kGrowth.count + least_.count / 2 ||
        bytes_ >= least_.bytes + kGrowth.bytes + least_.bytes / 4) {
      sweep(env);
    }
  }

 private:
  static constexpr uint32_t kNoSlot = UINT32_MAX;

  struct Slot {
    Storage storage;
    napi_ref reference = nullptr;  // weak; deleting it takes the finalizer along
    uint32_t generation = 0;       // of its last owner
    uint32_t next_free = 0;
  };

  struct Held {
    size_t count = 0, bytes = 0;
  };
  static constexpr Held kGrowth{1024, size_t{32} << 20};

  ~HandleTable() = default;
  Slot* slot_of(void* id);
  void free_slot(napi_env env, void* id);
  static void finalize(napi_env env, void* id, void* table);

  std::vector<Slot> slots_;
  uint32_t free_ = kNoSlot;  // the first of a list through the slots, so that freeing cannot fail
  size_t live_ = 0, bytes_ = 0;
  Held least_;  // the fewest that were live since the last sweep
  bool abandoned_ = false;
};

}  // namespace bptt::addon
