// The recurrent cells, as data every backend shares: one line per cell.
//
// A cell's step computes accumulators, one group of H numbers per (row, group),
// from products of weight gates with an operand, then an epilogue turns them
// into the new state. Equations, gate order and what is saved: docs/equations.md.
//
//   CELL(Name, enumerator, gates, states)
//     gates   weight blocks of H rows in weight_ih and weight_hh, in PyTorch's order
//     states  1: h        2: h and c
//
// The reset-before GRU shares the GRU's weights but needs a second stage per
// step: its candidate multiplies weight_hn with (r * h).
#pragma once

#include "backend.h"

#define BPTT_CELLS(CELL)         \
  CELL(Rnn, BPTT_RNN_TANH, 1, 1) \
  CELL(Rnn, BPTT_RNN_RELU, 1, 1) \
  CELL(Lstm, BPTT_LSTM, 4, 2)    \
  CELL(Gru, BPTT_GRU, 3, 1)      \
  CELL(GruResetBefore, BPTT_GRU_RESET_BEFORE, 3, 1)

namespace bptt {

#define BPTT_GATES(Name, enumerator, gates, states) \
  if (cell == enumerator) return gates;
constexpr int gates_of(bptt_cell cell) {
  BPTT_CELLS(BPTT_GATES)
  return 0;
}
#undef BPTT_GATES

#define BPTT_STATES(Name, enumerator, gates, states) \
  if (cell == enumerator) return states;
constexpr int states_of(bptt_cell cell) {
  BPTT_CELLS(BPTT_STATES)
  return 0;
}
#undef BPTT_STATES

}  // namespace bptt
