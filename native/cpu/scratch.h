// Scratch memory of one stream, for kernels whose caller gives them no workspace.
// It belongs to context->device and grows; the contents do not outlive a call.
#pragma once

#include <cstddef>

#include "backend.h"

namespace bptt::cpu {

// At least `bytes` aligned to 64 bytes, or null (context->message is then set).
// A second call may move and discard what the first returned.
void* scratch(bptt_context* context, size_t bytes);

void release_scratch(bptt_context* context);

}  // namespace bptt::cpu
