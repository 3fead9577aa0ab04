// The kernels, compiled once per instruction set inside that set's namespace,
// after its vec_<isa>.h has defined F32 and F64. Order is dependency order.
// clang-format off
#include "cpu/simd/math.inl"
#include "cpu/gemm.inl"
#include "cpu/ops/elementwise.inl"
#include "cpu/ops/unary.inl"
#include "cpu/ops/binary.inl"
#include "cpu/ops/reduce.inl"
// recurrent layers
#include "cpu/recurrent/cell.inl"
#include "cpu/recurrent/rnn.inl"
#include "cpu/recurrent/lstm.inl"
#include "cpu/recurrent/gru.inl"
#include "cpu/recurrent/rows.inl"
#include "cpu/recurrent/weights.inl"
#include "cpu/recurrent/forward.inl"
#include "cpu/recurrent/gradients.inl"
#include "cpu/recurrent/backward.inl"
#include "cpu/recurrent/entries.inl"
// operations
#include "cpu/ops/integers.inl"
#include "cpu/ops/lines.inl"
#include "cpu/ops/random.inl"
#include "cpu/ops/softmax.inl"
#include "cpu/ops/layer_norm.inl"
#include "cpu/ops/matmul.inl"
#include "cpu/ops/embedding.inl"
#include "cpu/ops/extreme.inl"
#include "cpu/ops/sort.inl"
#include "cpu/ops/scan.inl"
#include "cpu/ops/gather.inl"
#include "cpu/ops/fold.inl"
#include "cpu/ops/loss.inl"
#include "cpu/ops/ctc.inl"
#include "cpu/ops/optimizer.inl"
// the machine's limits
#include "cpu/limits.inl"
// the table of all kernels
#include "cpu/table.inl"
// clang-format on

const InstructionSet set = {&ops, &limits};
