// The kernels, compiled once per instruction set inside that set's namespace,
// after its vec_<isa>.h has defined F32 and F64. Order is dependency order.
// clang-format off
#include "cpu/math.inl"
#include "cpu/gemm.inl"
#include "cpu/elementwise.inl"
#include "cpu/reduce.inl"
// recurrent layers
#include "cpu/cell.inl"
#include "cpu/rnn.inl"
#include "cpu/lstm.inl"
#include "cpu/gru.inl"
#include "cpu/rows.inl"
#include "cpu/weights.inl"
#include "cpu/recurrence_forward.inl"
#include "cpu/gradients.inl"
#include "cpu/recurrence_backward.inl"
#include "cpu/recurrence.inl"
// operations
#include "cpu/random.inl"
#include "cpu/softmax.inl"
#include "cpu/layer_norm.inl"
#include "cpu/matmul.inl"
#include "cpu/embedding.inl"
#include "cpu/loss.inl"
#include "cpu/optimizer.inl"
// the machine's limits
#include "cpu/limits.inl"
// the exported table
#include "cpu/table.inl"
// clang-format on
