// What the operations on numbers call where a dtype is no float.
#pragma once

#include "cuda/device.h"

namespace bptt::cuda {

bptt_code unary_integers(bptt_context*, bptt_dtype, const Unary&);
bptt_code binary_integers(bptt_context*, const IntegerBinary&);
bptt_code sum_integers(bptt_context*, bptt_dtype, const SumAxes&, const void* x, void* out);

}  // namespace bptt::cuda
