// The recurrent layers as cuDNN defines them, in double precision on plain arrays; rounded to
// the layer's type are states, outputs, and gradients that are factors of products. Names of
// gates are NVIDIA's: LSTM i f g o, GRU r i n with h = (1 - i) * n + i * h_prev.
//
// T time, B batch, I input, H hidden, P output (of the projection, or H), L layers,
// D directions; a pseudo-layer is layer * D + direction.
#pragma once

#include <vector>

#include "cudnn/fake_cudnn.h"

namespace fake_cudnn {

struct Shape {
  cudnnRNNMode_t cell;
  int T, B, I, H, P, L, D, gates;
  std::vector<int> lengths;  // [B]

  bool projection() const { return P < H; }
  int input(int layer) const { return layer == 0 ? I : D * P; }
  size_t row(int t, int b) const { return size_t(t) * B + b; }
};
Shape shape_of(const cudnnRNNStruct& rnn, const cudnnRNNDataStruct& data);

// What the forward pass leaves for the backward passes, in doubles.
struct ReserveLayout {
  explicit ReserveLayout(const Shape& shape);

  static constexpr size_t kHeader = 8;     // who wrote it, and what is done
  static constexpr int kSaved = 4;         // values per unit: i f g o | r i n q | a gradient
  std::vector<size_t> gates;               // [pseudo-layer]: [T*B, kSaved*H]
  std::vector<size_t> cells, projections;  // [pseudo-layer]: [T*B, H], [T*B, P]
  std::vector<size_t> outputs;             // [layer but the top one]: [T*B, D*P]
  size_t elements;
};

// The tensors of a pass. Dense: [T,B,*] and [L*D,B,*]; empty where a tensor was null.
struct Pass {
  Pass(const Shape& shape, const WeightLayout& layout, const cudnnRNNStruct& rnn)
      : shape(shape), layout(layout), type(rnn.type), tf32(rnn.tf32) {}

  const Shape& shape;
  const WeightLayout& layout;
  const cudnnDataType_t type;
  const bool tf32;
  std::vector<double> weights;  // [layout.elements]
  std::vector<double> x, y, hx, cx, hy, cy;
  std::vector<double> dx, dy, dhx, dcx, dhy, dcy, dweights;
  std::vector<double> reserve;  // [ReserveLayout.elements]
};

void forward(Pass& pass);           // x hx cx weights -> y hy cy reserve
void backward_data(Pass& pass);     // y dy hx dhy cx dcy weights reserve -> dx dhx dcx reserve
void backward_weights(Pass& pass);  // x hx y reserve -> dweights, added

}  // namespace fake_cudnn
