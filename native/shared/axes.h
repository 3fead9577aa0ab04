// Shapes as nested loops: the axes that operands are walked along, merged into as few as
// possible. Host code of both back ends; CUDA passes the structs to its kernels.
#pragma once

#include <cstdint>

#include "backend.h"

namespace bptt {

// A shape walked by two operands at once. Axes of size 1 are dropped and axes that both
// operands walk as one are merged; a scalar is one axis of size 1, so rank >= 1.
struct Axes {
  int rank = 0;
  int64_t n = 1;  // product of shape
  int64_t shape[BPTT_MAX_RANK] = {};
  int64_t a[BPTT_MAX_RANK] = {}, b[BPTT_MAX_RANK] = {};  // strides

  void append(int64_t size, int64_t a_stride, int64_t b_stride) {
    n *= size;
    if (size == 1) return;
    const int last = rank - 1;
    if (rank > 0 && a[last] == a_stride * size && b[last] == b_stride * size) {
      shape[last] *= size;
    } else {
      shape[rank++] = size;
    }
    a[rank - 1] = a_stride;
    b[rank - 1] = b_stride;
  }
  void finish() {
    if (rank == 0) shape[rank++] = 1;
  }
};

inline Axes axes_of(int rank, const int64_t* shape, const int64_t* a_strides,
                    const int64_t* b_strides) {
  Axes axes;
  for (int d = 0; d < rank; ++d) axes.append(shape[d], a_strides[d], b_strides[d]);
  axes.finish();
  return axes;
}

// The axes in descending order of b's strides: b is walked in the order of its memory.
inline Axes axes_in_order_of_b(int rank, const int64_t* shape, const int64_t* a_strides,
                               const int64_t* b_strides) {
  int order[BPTT_MAX_RANK];
  for (int d = 0; d < rank; ++d) {
    int at = d;
    for (; at > 0 && b_strides[order[at - 1]] < b_strides[d]; --at) order[at] = order[at - 1];
    order[at] = d;
  }
  Axes axes;
  for (int d = 0; d < rank; ++d) {
    axes.append(shape[order[d]], a_strides[order[d]], b_strides[order[d]]);
  }
  axes.finish();
  return axes;
}

// The axis along which a has its smallest stride, but for those where it repeats (stride 0).
inline int nearest_axis_of_a(const Axes& axes) {
  int nearest = axes.rank - 1;
  for (int d = 0; d < axes.rank; ++d) {
    if (axes.a[d] != 0 && axes.a[d] < axes.a[nearest]) nearest = d;
  }
  return nearest;
}

// The axis `inner`, not the last, becomes the last but one.
inline Axes transposed(const Axes& axes, int inner) {
  Axes result = axes;
  const int last = axes.rank - 1;
  for (int d = 0; d < last; ++d) {
    const int axis = d == last - 1 ? inner : d < inner ? d : d + 1;
    result.shape[d] = axes.shape[axis];
    result.a[d] = axes.a[axis];
    result.b[d] = axes.b[axis];
  }
  return result;
}

// Some axes of one tensor, in order; neighbours that are walked as one are merged.
struct Walk {
  int rank = 0;
  int64_t shape[BPTT_MAX_RANK] = {}, stride[BPTT_MAX_RANK] = {};

  void append(int64_t size, int64_t step) {
    if (size == 1) return;
    if (rank > 0 && stride[rank - 1] == step * size) {
      shape[rank - 1] *= size;
      stride[rank - 1] = step;
    } else {
      shape[rank] = size;
      stride[rank++] = step;
    }
  }
  int64_t size() const {
    int64_t n = 1;
    for (int d = 0; d < rank; ++d) n *= shape[d];
    return n;
  }
};

// A sum over the reduced ones of a dense tensor's axes: one output for each place of
// [outer, inner], where the inner ones are adjacent in memory.
struct SumAxes {
  Walk outer, reduced;
  int64_t inner = 1;
  // Whether the innermost axis is reduced: neighbours in memory then belong to one output, else
  // to neighbouring outputs.
  bool along = false;
};

inline SumAxes sum_axes_of(int rank, const int64_t* shape, const int* reduced) {
  SumAxes axes;
  int64_t strides[BPTT_MAX_RANK];
  int innermost = -1;
  int64_t stride = 1;
  for (int d = rank - 1; d >= 0; --d) {
    strides[d] = stride;
    stride *= shape[d];
    if (innermost < 0 && shape[d] != 1) innermost = d;
  }
  axes.along = innermost < 0 || reduced[innermost];
  int kept = rank;  // axes [kept, rank) make up the inner axis
  while (!axes.along && kept > 0 && (!reduced[kept - 1] || shape[kept - 1] == 1)) {
    axes.inner *= shape[--kept];
  }
  for (int d = 0; d < kept; ++d) {
    (reduced[d] ? axes.reduced : axes.outer).append(shape[d], strides[d]);
  }
  return axes;
}

}  // namespace bptt
