// Device memory of the fake driver: pages that the host cannot touch while they are
// closed. A buffer ends at a guard (no page is there), its bytes are NaN at first, what
// lies around it on its own pages is checked, and no address is used twice.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

namespace bptt_fake {

class Arena {
 public:
  Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Aligned to 256 bytes, filled with 0xFF. Null where the limit is reached.
  void* allocate(size_t bytes);
  // False where no live buffer starts there.
  bool release(void* pointer);
  void release_all();

  // All live buffers become accessible, or no buffer is.
  void open();
  void close();

  // [pointer, pointer + bytes) lies within one live buffer.
  bool holds(const void* pointer, size_t bytes) const;
  // An address of the arena, whatever is there.
  bool contains(const void* pointer) const;
  // "byte 12 of buffer 3 (400 bytes)", "4 bytes past buffer 3 (400 bytes, freed)".
  std::string describe(const void* pointer) const;
  // What was written behind a buffer on its last page, or empty; with heads also before
  // one on its first page, which takes longer. The arena must be open.
  std::string damage(bool heads) const;

  size_t live() const { return live_; }
  size_t live_bytes() const { return live_bytes_; }
  size_t limit() const { return limit_; }
  void set_limit(size_t bytes) { limit_ = bytes; }

 private:
  struct Buffer {
    unsigned char *pages, *data;
    size_t page_bytes, bytes;
    int number;
    bool live;
  };

  const Buffer* find(const void* pointer) const;  // whose pages start at or before it
  void protect(const Buffer& buffer, bool accessible) const;

  unsigned char *base_, *end_, *next_;
  size_t page_;
  size_t limit_ = size_t{4} << 30;
  std::map<uintptr_t, Buffer> buffers_;  // by first page, freed ones too
  std::map<uintptr_t, Buffer*> live_buffers_;
  size_t live_ = 0, live_bytes_ = 0;
  int count_ = 0;
  bool open_ = false;
};

}  // namespace bptt_fake
