// The kernels in plain C++, for any processor.
#include "cpu/isa.h"

namespace bptt::cpu::baseline {
#include "cpu/kernels.inl"
#include "cpu/vec_baseline.h"
}  // namespace bptt::cpu::baseline

namespace bptt::cpu {
const bptt_ops* baseline_ops() { return &baseline::ops; }
}  // namespace bptt::cpu
