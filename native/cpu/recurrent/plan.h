// What follows from the shapes and lengths of a recurrent call alone: the order
// of its rows and where everything lies in packed, reserve and workspace.
//
// Inside, a batch of sequences is a packed sequence (shared/packed_sequence.h).
// Time-major input without lengths already lies so and is used in place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "backend.h"
#include "shared/packed_sequence.h"

namespace bptt::cpu {

// What a plan must know of a cell; cell.inl says what the words mean.
struct CellShape {
  int gates;
  int groups;
  int states;
  bool saves_groups;
  bool second_operand;
  int64_t unit_weights;  // per unit
};

// Weights of one pseudo-layer in panels: byte offsets in the forward part and
// in the backward part of packed.
struct PackedLayer {
  size_t ih;       // panels of [input, H], gates in turns
  size_t hh;       // a stage's gates in turns, panels of [Hout, H]
  size_t hr;       // panels of [H, P]
  size_t bias;     // [groups,H]: what the accumulators start at
  size_t back_ih;  // panels of [gates*H, input]
  size_t back_hh;  // a stage's terms, each panels of [its gates*H, Hout]
  size_t back_hr;  // panels of [P, H]
};

// What training keeps of one pseudo-layer: byte offsets in the reserve.
struct SavedLayer {
  size_t gates;  // [rows, gate_stride]
  size_t c;      // [rows, H]
};

// The packed buffer begins with the stamps of what its two parts hold. A fresh one must begin
// with zeros.
struct PackedHeader {
  uint64_t forward_stamp;
  uint64_t backward_stamp;
};
constexpr size_t kPackedHeader = 64;

// Byte offsets of scratch. A slice that a plan does not need is empty.
struct ForwardWorkspace {
  size_t x;        // [rows,I], gathered
  size_t y[2];     // [rows,D*Hout], layers in turn, where neither y nor the reserve serves
  size_t dropped;  // [rows,D*Hout], input of an inner layer after dropout
  size_t gates;    // [chunk_rows, gate_stride]
  size_t h0;       // [B,Hout], sorted
  size_t c0;       // [B,H], sorted
  size_t c;        // [B,H], carried where it is not saved
  size_t operand;  // [B,H], of a second stage
  size_t m;        // [B,H], h before its projection
  size_t packed;   // last: forward part, for a caller without a packed buffer
};

struct BackwardWorkspace {
  size_t x;             // [rows,I], gathered
  size_t y;             // [rows,D*Hout], gathered
  size_t dy[2];         // [rows,D*Hout], layers in turn; dh accumulates in it
  size_t dx;            // [rows,I], before it is scattered
  size_t dropped;       // [rows,D*Hout]
  size_t gates;         // [rows, gate_stride], where they are not saved
  size_t operand_rows;  // [rows,H], operand of a second stage, all steps
  size_t doperand;      // [B,H]
  size_t dm;            // [B,H]
  size_t h0, dh0;       // [B,Hout], sorted
  size_t c0, dc;        // [B,H], sorted
  size_t bias;          // [gate_stride], sums over rows
  size_t unit_weights;  // [rows, n*H], each step's part of their gradient
  size_t block;         // a block of rows of a product's right side, in panels
  size_t run, lost;     // the largest weight's [m,n], where there are several runs of rows
  size_t packed;        // last: backward part, as above
};

// Steps are taken in chunks, whose accumulators are at most so many bytes (of one step at least):
// they should still be in the cache when the recurrence comes to them.
constexpr int64_t kChunkBytes = 256 * 1024;
// A weight gradient adds up its products block by block of so many rows, and run by run of so
// many (docs/numerics.md, Products): the first run in the gradient itself, others beside it.
constexpr int64_t kBlockRows = 256;
constexpr int64_t kRunRows = 16 * kBlockRows;

}  // namespace bptt::cpu

struct bptt_plan : bptt::PackedSequence {
  bptt_recurrent desc;  // lengths is null: see order
  bptt::cpu::CellShape cell;
  int64_t Hout;         // P ? P : H
  int64_t width;        // D * Hout
  int64_t gate_stride;  // groups * H, padded
  int64_t chunk_steps, chunk_rows;
  bool in_place;  // x and y lie as the packed rows do

  std::vector<bptt::cpu::PackedLayer> packed;  // [L*D]
  std::vector<bptt::cpu::SavedLayer> saved;    // [L*D]
  std::vector<size_t> saved_y;                 // [L-1]: [rows,D*Hout]
  bptt::cpu::ForwardWorkspace forward;
  bptt::cpu::BackwardWorkspace backward;
  size_t packed_forward_bytes, packed_backward_bytes;
  bptt_plan_sizes sizes;

  int64_t input(int64_t layer) const { return layer == 0 ? desc.I : width; }
};

namespace bptt::cpu {

// panel is the panel width of the table that will run the plan.
bptt_code make_plan(bptt_context* context, const bptt_recurrent* desc, CellShape cell,
                    int64_t panel, bptt_plan** out);
void plan_destroy(bptt_plan* plan);
void plan_sizes(const bptt_plan* plan, bptt_plan_sizes* sizes);

}  // namespace bptt::cpu
