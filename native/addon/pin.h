#pragma once

namespace bptt::addon {

// Keeps this library mapped until the process ends: its threads may still run
// when the worker that loaded it has gone.
void pin_library();

}  // namespace bptt::addon
