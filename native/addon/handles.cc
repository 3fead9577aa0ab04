#include "addon/handles.h"

#include "addon/call.h"

namespace bptt::addon {

namespace {

// Random once; tells our externals from those of other addons and of steppers.
constexpr napi_type_tag kStorageTag = {0x5c1f0f9ae1d64b0b, 0x9d0e2c6f6a7b4f11};

// An id looks like a pointer: 47 bits, and never null.
constexpr int kIndexBits = 24;
constexpr uint32_t kMostSlots = uint32_t{1} << kIndexBits;
constexpr uint32_t kGenerations = (uint32_t{1} << 23) - 1;  // 1 .. kGenerations
static_assert(sizeof(void*) == 8);

void* make_id(uint32_t index, uint32_t generation) {
  return reinterpret_cast<void*>(static_cast<uintptr_t>(generation) << kIndexBits | index);
}
uint32_t index_of(void* id) {
  return static_cast<uint32_t>(reinterpret_cast<uintptr_t>(id) % kMostSlots);
}
uint32_t generation_of(void* id) {
  return static_cast<uint32_t>(reinterpret_cast<uintptr_t>(id) >> kIndexBits);
}

}  // namespace

napi_value HandleTable::add(napi_env env, Storage storage) {
  if (free_.empty()) {
    if (slots_.size() == kMostSlots) throw Error(BPTT_OUT_OF_MEMORY, "too many tensors");
    free_.reserve(slots_.size() + 1);  // so that freeing a slot cannot fail
    free_.push_back(static_cast<uint32_t>(slots_.size()));
    slots_.emplace_back();
  }
  const uint32_t index = free_.back();
  Slot& slot = slots_[index];
  const uint32_t generation = slot.generation % kGenerations + 1;
  void* id = make_id(index, generation);
  napi_value external;
  check(napi_create_external(env, id, nullptr, nullptr, &external));
  check(napi_type_tag_object(env, external, &kStorageTag));
  check(napi_add_finalizer(env, external, id, finalize, this, &slot.reference));
  slot.generation = generation;
  slot.storage = std::move(storage);
  free_.pop_back();
  ++live_;
  return external;
}

Storage* HandleTable::find(napi_env env, napi_value handle) {
  void* id = external_data(env, handle, kStorageTag);
  if (!id) broken("not a handle of a storage");
  Slot* slot = slot_of(id);
  return slot ? &slot->storage : nullptr;
}

void HandleTable::release(napi_env env, napi_value handle) {
  if (find(env, handle)) free_slot(env, external_data(env, handle, kStorageTag));
}

HandleTable::Slot* HandleTable::slot_of(void* id) {
  const uint32_t index = index_of(id);
  if (index >= slots_.size()) return nullptr;
  Slot& slot = slots_[index];
  return slot.reference && slot.generation == generation_of(id) ? &slot : nullptr;
}

void HandleTable::free_slot(napi_env env, void* id) {
  Slot& slot = slots_[index_of(id)];
  slot.storage.release();
  napi_delete_reference(env, slot.reference);
  slot.reference = nullptr;
  free_.push_back(index_of(id));
  --live_;
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
