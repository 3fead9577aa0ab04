#include "addon/handles.h"

#include <algorithm>

#include "addon/call.h"

namespace bptt::addon {

namespace {

// An id is a slot of the table and a generation, as a pointer of 47 bits (as wide as those of user
// space) that is odd, as no pointer in another External is. It is never dereferenced: whatever
// its bits, using it touches nothing but the table.
constexpr int kIndexBits = 24;
constexpr uint32_t kMostSlots = uint32_t{1} << kIndexBits;
// A slot that has had so many owners gets no other: the handle of one would name the next.
constexpr uint32_t kGenerations = (uint32_t{1} << 22) - 1;  // 1 .. kGenerations
static_assert(sizeof(void*) == 8);

void* make_id(uint32_t index, uint32_t generation) {
  const auto number = static_cast<uintptr_t>(generation) << kIndexBits | index;
  return reinterpret_cast<void*>(number << 1 | 1);
}
bool is_id(void* id) { return reinterpret_cast<uintptr_t>(id) % 2 == 1; }
uint32_t index_of(void* id) {
  return static_cast<uint32_t>((reinterpret_cast<uintptr_t>(id) >> 1) % kMostSlots);
}
uint32_t generation_of(void* id) {
  return static_cast<uint32_t>(reinterpret_cast<uintptr_t>(id) >> (kIndexBits + 1));
}

// The number in a handle; throws for other values.
void* id_of(napi_env env, napi_value handle) {
  void* id = nullptr;
  if (napi_get_value_external(env, handle, &id) != napi_ok || !is_id(id)) {
    broken("not a handle of a storage");
  }
  return id;
}

}  // namespace

napi_value HandleTable::add(napi_env env, Storage storage) {
  if (free_ == kNoSlot) {
    if (slots_.size() == kMostSlots) throw Error(BPTT_OUT_OF_MEMORY, "too many tensors");
    slots_.emplace_back().next_free = kNoSlot;
    free_ = static_cast<uint32_t>(slots_.size() - 1);
  }
  Slot& slot = slots_[free_];
  void* id = make_id(free_, slot.generation + 1);
  napi_value external;
  check(napi_create_external(env, id, nullptr, nullptr, &external));
  check(napi_add_finalizer(env, external, id, finalize, this, &slot.reference));
  ++slot.generation;
  slot.storage = std::move(storage);
  free_ = slot.next_free;
  ++live_;
  bytes_ += slot.storage.bytes();
  return external;
}

Storage* HandleTable::find(napi_env env, napi_value handle) {
  Slot* slot = slot_of(id_of(env, handle));
  return slot ? &slot->storage : nullptr;
}

void HandleTable::release(napi_env env, napi_value handle) {
  void* id = id_of(env, handle);
  if (slot_of(id)) free_slot(env, id);
}

HandleTable::Slot* HandleTable::slot_of(void* id) {
  const uint32_t index = index_of(id);
  if (index >= slots_.size()) return nullptr;
  Slot& slot = slots_[index];
  return slot.reference && slot.generation == generation_of(id) ? &slot : nullptr;
}

void HandleTable::free_slot(napi_env env, void* id) {
  Slot& slot = slots_[index_of(id)];
  bytes_ -= slot.storage.bytes();
  slot.storage.release();
  napi_delete_reference(env, slot.reference);
  slot.reference = nullptr;
  if (slot.generation < kGenerations) slot.next_free = std::exchange(free_, index_of(id));
  --live_;
  least_ = {std::min(least_.count, live_), std::min(least_.bytes, bytes_)};
}

void HandleTable::sweep(napi_env env) {
  constexpr size_t kPerScope = 256;
  for (size_t begin = 0; begin < slots_.size(); begin += kPerScope) {
    napi_handle_scope scope;
    check(napi_open_handle_scope(env, &scope));
    for (size_t i = begin; i < std::min(begin + kPerScope, slots_.size()); ++i) {
      const Slot& slot = slots_[i];
      napi_value value = nullptr;
      if (slot.reference && napi_get_reference_value(env, slot.reference, &value) == napi_ok &&
          !value) {
        free_slot(env, make_id(static_cast<uint32_t>(i), slot.generation));
      }
    }
    napi_close_handle_scope(env, scope);
  }
  least_ = {live_, bytes_};
}

void HandleTable::finalize(napi_env env, void* id, void* data) {
  auto* table = static_cast<HandleTable*>(data);
  if (table->slot_of(id)) table->free_slot(env, id);
  if (table->abandoned_ && table->live_ == 0) delete table;
}

void HandleTable::abandon() {
  abandoned_ = true;
  if (live_ == 0) delete this;
}

}  // namespace bptt::addon
