// Clocks in seconds: the time that passes, and a thread's processor time.
#pragma once

namespace bptt::cpu {

double elapsed_seconds();

// Processor time of this thread; elapsed_seconds() where the system does not tell.
double processor_seconds();

}  // namespace bptt::cpu
