// What a thread used of a processor, beside what passed. In seconds.
#pragma once

namespace bptt::cpu {

double elapsed_seconds();

// Processor time of this thread; elapsed_seconds() where the system does not tell.
double processor_seconds();

}  // namespace bptt::cpu
