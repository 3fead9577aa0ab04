// The cells of recurrent layers and their parameters, as data: everything that knows the
// cells one by one is made of these lists, in C++ and, by generate.mjs, in lib/cells.ts.
// Equations, gate order and what is saved: docs/equations.md.
#pragma once

// CELL(enumerator, name, Template, gates, states, cudnn)
//   name      in lib/cells.ts
//   Template  of cpu/recurrent, which computes it
//   gates     G: blocks of H rows in weight_ih and weight_hh, in PyTorch's order
//   states    1: h        2: h and c
//   cudnn     the number of cuDNN's mode (cudnnRNNMode_t); -1: cuDNN does not have it
#define BPTT_CELLS(CELL)                                                \
  CELL(BPTT_RNN_TANH, rnnTanh, Rnn, 1, 1, 1)                            \
  CELL(BPTT_RNN_RELU, rnnRelu, Rnn, 1, 1, 0)                            \
  CELL(BPTT_LSTM, lstm, Lstm, 4, 2, 2)                                  \
  CELL(BPTT_GRU, gru, Gru, 3, 1, 3)                                     \
  CELL(BPTT_GRU_RESET_BEFORE, gruResetBefore, GruResetBefore, 3, 1, -1) \
  CELL(BPTT_LSTM_PEEPHOLE, lstmPeephole, LstmPeephole, 4, 2, -1)

// PARAMETER(name, present, shape...), of one direction of one layer and in PyTorch's order.
// What the expressions may name: G, H, P (projection; 0: none), Hout = P ? P : H, I (what
// the layer reads), bias, and is(cells...) for a parameter of some cells alone.
// clang-format off
#define BPTT_PARAMETERS(PARAMETER)        \
  PARAMETER(weight_ih, true, G * H, I)    \
  PARAMETER(weight_hh, true, G * H, Hout) \
  PARAMETER(bias_ih, bias, G * H)         \
  PARAMETER(bias_hh, bias, G * H)         \
  PARAMETER(weight_hr, P > 0, P, H)       \
  PARAMETER(weight_ch, is(BPTT_LSTM_PEEPHOLE), 3, H)
// clang-format on
