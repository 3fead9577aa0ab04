// What int32 and bool compute: conversions, comparisons, masks, and arithmetic that wraps.
#include "define.h"
#include "functions.h"
#include "walk.h"

namespace bptt::cuda {

template <class From>
__device__ inline int32_t to_int32(From x) {
  constexpr From kEnd = 2147483648;
  return x >= kEnd ? INT32_MAX : x < -kEnd ? INT32_MIN : x == x ? static_cast<int32_t>(x) : 0;
}
__device__ inline int32_t to_int32(int32_t x) { return x; }
__device__ inline int32_t to_int32(uint8_t x) { return x; }

template <class From>
__device__ inline void convert_from(const Convert& a) {
  const From* x = static_cast<const From*>(a.x);
  switch (a.to) {
    case BPTT_FLOAT32:
      BPTT_EACH(i, a.n) static_cast<float*>(a.out)[i] = static_cast<float>(x[i]);
      break;
    case BPTT_FLOAT64:
      BPTT_EACH(i, a.n) static_cast<double*>(a.out)[i] = static_cast<double>(x[i]);
      break;
    case BPTT_INT32:
      BPTT_EACH(i, a.n) static_cast<int32_t*>(a.out)[i] = to_int32(x[i]);
      break;
    case BPTT_BOOL:
      BPTT_EACH(i, a.n) static_cast<uint8_t*>(a.out)[i] = x[i] != From(0);
      break;
  }
}

template <class In>
__device__ inline bool compare_of(bptt_comparison op, In x, In y) {
  switch (op) {
    case BPTT_EQ:
      return x == y;
    case BPTT_NE:
      return x != y;
    case BPTT_LT:
      return x < y;
    case BPTT_LE:
      return x <= y;
    case BPTT_GT:
      return x > y;
    case BPTT_GE:
      return x >= y;
  }
  return false;
}

template <class In>
__device__ inline void compare_elements(const Compare& a) {
  const In *left = static_cast<const In*>(a.a), *right = static_cast<const In*>(a.b);
  BPTT_EACH(i, a.axes.n) {
    const Offsets at = offsets_of(a.axes, i);
    a.out[i] = compare_of(a.op, left[at.a], right[at.b]);
  }
}

template <class Word>
__device__ inline void masked_copy_words(const MaskedCopy& a) {
  const Word* src = static_cast<const Word*>(a.src);
  Word* out = static_cast<Word*>(a.out);
  BPTT_EACH(i, a.axes.n) {
    const Offsets at = offsets_of(a.axes, i);
    if (a.mask[at.a]) out[i] = src[at.b];
  }
}

__device__ inline uint32_t integer_binary_of(bptt_binary_op op, int32_t x, int32_t y) {
  const uint32_t left = static_cast<uint32_t>(x), right = static_cast<uint32_t>(y);
  switch (op) {
    case BPTT_ADD:
      return left + right;
    case BPTT_SUB:
      return left - right;
    case BPTT_MUL:
      return left * right;
    case BPTT_MAXIMUM:
      return x > y ? left : right;
    case BPTT_MINIMUM:
      return x < y ? left : right;
    default:  // refused by the host
      return 0;
  }
}

template <class In>
__device__ inline void integer_binary_elements(const IntegerBinary& a) {
  const In *left = static_cast<const In*>(a.a), *right = static_cast<const In*>(a.b);
  In* out = static_cast<In*>(a.out);
  BPTT_EACH(i, a.axes.n) {
    const Offsets at = offsets_of(a.axes, i);
    out[i] = static_cast<In>(integer_binary_of(a.op, left[at.a], right[at.b]));
  }
}

}  // namespace bptt::cuda

BPTT_KERNEL(convert, Convert) {
  switch (a.from) {
    case BPTT_FLOAT32:
      return convert_from<float>(a);
    case BPTT_FLOAT64:
      return convert_from<double>(a);
    case BPTT_INT32:
      return convert_from<int32_t>(a);
    case BPTT_BOOL:
      return convert_from<uint8_t>(a);
  }
}

BPTT_KERNEL(compare, Compare) {
  switch (a.dtype) {
    case BPTT_FLOAT32:
      return compare_elements<float>(a);
    case BPTT_FLOAT64:
      return compare_elements<double>(a);
    case BPTT_INT32:
      return compare_elements<int32_t>(a);
    case BPTT_BOOL:
      return compare_elements<uint8_t>(a);
  }
}

BPTT_KERNEL(masked_copy, MaskedCopy) {
  switch (a.bytes) {
    case 1:
      return masked_copy_words<uint8_t>(a);
    case 4:
      return masked_copy_words<uint32_t>(a);
    default:
      return masked_copy_words<uint64_t>(a);
  }
}

BPTT_KERNEL(integer_unary, Unary) {
  const int32_t* x = static_cast<const int32_t*>(a.x);
  int32_t* out = static_cast<int32_t*>(a.out);
  const uint32_t alpha = static_cast<uint32_t>(to_int32(a.alpha));
  BPTT_EACH(i, a.n) {
    const int32_t v = x[i];
    const uint32_t u = static_cast<uint32_t>(v);
    uint32_t y = u;
    switch (a.op) {
      case BPTT_NEG:
        y = 0 - u;
        break;
      case BPTT_ABS:
        y = v < 0 ? 0 - u : u;
        break;
      case BPTT_SIGN:
        y = static_cast<uint32_t>((v > 0) - (v < 0));
        break;
      case BPTT_SCALE:
        y = alpha * u;
        break;
      case BPTT_ADD_SCALAR:
        y = u + alpha;
        break;
      default:  // refused by the host
        break;
    }
    out[i] = static_cast<int32_t>(y);
  }
}

BPTT_KERNEL(integer_binary, IntegerBinary) {
  if (a.dtype == BPTT_BOOL) {
    integer_binary_elements<uint8_t>(a);
  } else {
    integer_binary_elements<int32_t>(a);
  }
}

BPTT_KERNEL(integer_sum, IntegerSum) {
  BPTT_EACH(output, a.outputs) {
    const int64_t outer = output / a.inner;
    const int32_t* x = a.x + offset_of(a.outer, outer) + (output - outer * a.inner);
    uint32_t total = 0;
    for (int64_t i = 0; i < a.length; ++i)
      total += static_cast<uint32_t>(x[offset_of(a.reduced, i)]);
    a.out[output] = static_cast<int32_t>(total);
  }
}
