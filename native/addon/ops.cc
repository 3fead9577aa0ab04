// The ops: one function per entry of BPTT_OPS. Plain ones have a line each, the others, with
// strides or lists, a function.
#include "addon/ops.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "addon/plain.h"

namespace bptt::addon {

namespace {

// A number per axis: a shape, or strides.
using PerAxis = int64_t[BPTT_MAX_RANK];

int64_t elements_of(int rank, const int64_t* shape) {
  double count = 1;
  for (int i = 0; i < rank; ++i) count *= static_cast<double>(shape[i]);
  return to_integer(count, 0, kLargestCount);
}

// Elements from the first to the last that the strides reach.
int64_t extent_of(int rank, const int64_t* shape, const int64_t* strides) {
  double last = 0;
  for (int i = 0; i < rank; ++i) {
    if (shape[i] == 0) return 0;
    if (strides[i] > 0) last += static_cast<double>(shape[i] - 1) * static_cast<double>(strides[i]);
  }
  return to_integer(last + 1, 0, kLargestCount);
}

// Strides below 0 must not lead to before the buffer.
void check_backward_reach(int64_t offset, int rank, const int64_t* shape, const int64_t* strides) {
  double first = static_cast<double>(offset);
  for (int i = 0; i < rank; ++i) {
    if (shape[i] == 0) return;
    if (strides[i] < 0)
      first += static_cast<double>(shape[i] - 1) * static_cast<double>(strides[i]);
  }
  to_integer(first, 0, kLargestCount);
}

int64_t sum_of(int64_t a, int64_t b) {
  return to_integer(static_cast<double>(a) + b, 0, kLargestCount);
}

// A list of counts: sizes of buffers and the like.
std::vector<int64_t> read_counts(Call& call) {
  Numbers numbers(call.numbers());
  std::vector<int64_t> sizes(numbers.size());
  for (int64_t& size : sizes) size = numbers.count();
  return sizes;
}

// One op whose parts lie on any devices: each device does its own, and where the op cannot be
// enqueued on one of them, it is on none. Work(const bptt_ops&, bptt_context*) -> bptt_code.
template <class Work>
class Together {
 public:
  struct Share {
    Stream* stream;
    std::vector<Operand> inputs, outputs;
    Work work;
  };

  // The next operands of the call are on the device of this one.
  Share& on_device_of(Call& call, napi_value handle) {
    call.leave_device();
    call.storage_of(handle);
    Stream* stream = &call.stream();
    for (Share& share : shares_) {
      if (share.stream == stream) return share;
    }
    shares_.push_back({stream, {}, {}, {}});
    return shares_.back();
  }

  void enqueue(const char* op) {
    std::vector<Stream::Prepared> prepared;
    prepared.reserve(shares_.size());
    for (Share& share : shares_) {
      auto work = [ops = &share.stream->ops(), work = std::move(share.work)](
                      bptt_context* context) mutable { return work(*ops, context); };
      prepared.push_back(share.stream->prepare(op, share.inputs, share.outputs, std::move(work)));
    }
    for (Stream::Prepared& part : prepared) part.publish();
  }

 private:
  std::vector<Share> shares_;
};

// How many losses a reduction leaves of n.
double losses(bptt_reduction reduction, double n) { return reduction == BPTT_NONE ? n : 1; }

// How many indices pick m elements of each line.
double positions(bptt_pick pick, double lines, double m) {
  return pick == BPTT_INDEX_SELECT ? m : lines * m;
}

// In messages a backward is called as its op.
std::string name_in_messages(const char* op) {
  const std::string name = op, suffix = "_backward";
  return camel_case(name.ends_with(suffix) ? name.substr(0, name.size() - suffix.size()) : name);
}

// -- plain ops: their enums and sizes, and the elements of their buffers --------------

#define PLAIN(op, enums_and_sizes, ...)                                                         \
  napi_value op(Call& call) {                                                                   \
    using Signature = Plain<decltype(&bptt_ops::op)>;                                           \
    static const std::string name = name_in_messages(#op);                                      \
    return Signature::run(call, &bptt_ops::op, name.c_str(),                                    \
                          [] enums_and_sizes { return std::to_array<Extent>({__VA_ARGS__}); }); \
  }

// clang-format off
PLAIN(fill, (double n), n)
PLAIN(unary, (bptt_unary_op, double n), n, n)
PLAIN(unary_backward, (bptt_unary_op, double n), n, n, n)
PLAIN(dropout, (double n), n, n)
PLAIN(uniform, (double n), n)
PLAIN(normal, (double n), n)
PLAIN(softmax, (bptt_softmax_kind, double outer, double classes, double inner),
      outer * classes * inner, outer * classes * inner)
PLAIN(softmax_backward, (bptt_softmax_kind, double outer, double classes, double inner),
      outer * classes * inner, outer * classes * inner, outer * classes * inner)
PLAIN(layer_norm, (double rows, double cols),
      rows * cols, maybe(cols), maybe(cols), rows * cols, maybe(rows), maybe(rows))
PLAIN(layer_norm_backward, (double rows, double cols),
      rows * cols, maybe(cols), rows, rows, rows * cols, maybe(rows * cols), maybe(cols), maybe(cols))
PLAIN(extreme, (bptt_extreme, double outer, double n, double inner),
      outer * n * inner, maybe(outer * inner), outer * inner)
PLAIN(sort, (double k, double outer, double n, double inner),
      outer * n * inner, outer * k * inner, outer * k * inner)
PLAIN(cumsum, (double outer, double n, double inner), outer * n * inner, outer * n * inner)
PLAIN(gather, (bptt_pick pick, double outer, double n, double inner, double m),
      outer * n * inner, positions(pick, outer * inner, m), outer * m * inner)
PLAIN(scatter_add, (bptt_pick pick, double outer, double n, double inner, double m),
      positions(pick, outer * inner, m), maybe(outer * n * inner), outer * m * inner,
      outer * n * inner)
PLAIN(fold, (bptt_fold, double outer, double n, double inner), outer * n * inner, outer * inner)
PLAIN(embedding, (double n, double rows, double cols), rows * cols, n, n * cols)
PLAIN(embedding_backward, (double n, double rows, double cols, double), n, n * cols, rows * cols)
PLAIN(cross_entropy, (bptt_reduction reduction, double outer, double classes, double inner),
      outer * classes * inner, outer * inner, losses(reduction, outer * inner), outer * inner + 1)
PLAIN(cross_entropy_backward, (bptt_reduction reduction, double outer, double classes, double inner),
      outer * classes * inner, outer * inner, outer * inner + 1, losses(reduction, outer * inner),
      outer * classes * inner)
PLAIN(pairwise_loss, (bptt_pairwise_loss, bptt_reduction reduction, double n),
      n, n, losses(reduction, n))
PLAIN(pairwise_loss_backward, (bptt_pairwise_loss, bptt_reduction reduction, double n),
      n, n, losses(reduction, n), maybe(n), maybe(n))
PLAIN(ctc_loss, (double T, double B, double C, double S, double total),
      T * B * C, total, 3 * B, B, maybe(B * T * (2 * S + 4)))
PLAIN(ctc_loss_backward, (double T, double B, double C, double S, double total),
      T * B * C, total, 3 * B, B * T * (2 * S + 4), B, T * B * C)
// clang-format on

// -- ops of strides ---------------------------------------------------------------------

// Two operands that broadcast: [rank, shape.., aStrides.., bStrides..].
struct Pair {
  int rank;
  PerAxis shape, a, b;

  explicit Pair(Call& call) {
    Numbers numbers(call.numbers());
    rank = numbers.rank();
    numbers.counts(rank, shape);
    numbers.counts(rank, a);
    numbers.counts(rank, b);
  }
};

napi_value binary(Call& call) {
  const bptt_dtype dtype = call.dtype();
  const auto op = call.option<bptt_binary_op>();
  const Pair l(call);
  const void* a = call.input(extent_of(l.rank, l.shape, l.a), dtype);
  const void* b = call.input(extent_of(l.rank, l.shape, l.b), dtype);
  void* out = call.output(elements_of(l.rank, l.shape), dtype);
  return call.enqueue(name_of(op), [=](const bptt_ops& ops, bptt_context* context) {
    return ops.binary(context, dtype, op, l.rank, l.shape, a, l.a, b, l.b, out);
  });
}

napi_value compare(Call& call) {
  const bptt_dtype dtype = call.dtype();
  const auto op = call.option<bptt_comparison>();
  const Pair l(call);
  const void* a = call.input(extent_of(l.rank, l.shape, l.a), dtype);
  const void* b = call.input(extent_of(l.rank, l.shape, l.b), dtype);
  void* out = call.output(elements_of(l.rank, l.shape), BPTT_BOOL);
  return call.enqueue(name_of(op), [=](const bptt_ops& ops, bptt_context* context) {
    return ops.compare(context, dtype, op, l.rank, l.shape, a, l.a, b, l.b, out);
  });
}

napi_value masked_copy(Call& call) {
  const bptt_dtype dtype = call.dtype();
  const Pair l(call);
  const void* mask = call.input(extent_of(l.rank, l.shape, l.a), BPTT_BOOL);
  const void* src = call.input(extent_of(l.rank, l.shape, l.b), dtype);
  const int64_t count = elements_of(l.rank, l.shape);
  const napi_value handle = call.next();
  void* out = call.output(handle, count, dtype);
  call.input(handle, count, dtype);
  return call.enqueue("where", [=](const bptt_ops& ops, bptt_context* context) {
    return ops.masked_copy(context, dtype, l.rank, l.shape, mask, l.a, src, l.b, out);
  });
}

napi_value convert(Call& call) {
  const bptt_dtype from = call.dtype(), to = call.dtype();
  const int64_t n = call.count();
  const void* x = call.input(n, from);
  void* out = call.output(n, to);
  return call.enqueue("to", [=](const bptt_ops& ops, bptt_context* context) {
    return ops.convert(context, from, to, n, x, out);
  });
}

napi_value copy(Call& call) {
  struct Layout {
    int rank;
    PerAxis shape, src, dst;
  } l;
  const bptt_dtype dtype = call.dtype();
  Numbers numbers(call.numbers());
  l.rank = numbers.rank();
  const int64_t src_offset = numbers.count();
  const int64_t dst_offset = numbers.count();
  numbers.counts(l.rank, l.shape);
  numbers.steps(l.rank, l.src);
  numbers.counts(l.rank, l.dst);
  check_backward_reach(src_offset, l.rank, l.shape, l.src);
  const int64_t src_count = sum_of(src_offset, extent_of(l.rank, l.shape, l.src));
  const int64_t dst_count = sum_of(dst_offset, extent_of(l.rank, l.shape, l.dst));
  const auto* src =
      static_cast<const char*>(call.input(src_count, dtype)) + src_offset * size_of(dtype);
  char* dst = static_cast<char*>(call.output(dst_count, dtype)) + dst_offset * size_of(dtype);
  return call.enqueue("copy", [=](const bptt_ops& ops, bptt_context* context) {
    return ops.copy(context, dtype, l.rank, l.shape, src, l.src, dst, l.dst);
  });
}

napi_value sum(Call& call) {
  struct Layout {
    int rank;
    PerAxis shape;
    int reduced[BPTT_MAX_RANK];
  } l;
  const bptt_dtype dtype = call.dtype();
  Numbers numbers(call.numbers());
  l.rank = numbers.rank();
  numbers.counts(l.rank, l.shape);
  PerAxis kept;
  int kept_rank = 0;
  for (int i = 0; i < l.rank; ++i) {
    l.reduced[i] = static_cast<int>(numbers.integer(0, 1));
    if (!l.reduced[i]) kept[kept_rank++] = l.shape[i];
  }
  const double scale = call.number();
  const void* x = call.input(elements_of(l.rank, l.shape), dtype);
  void* out = call.output(elements_of(kept_rank, kept), dtype);
  return call.enqueue("sum", [=](const bptt_ops& ops, bptt_context* context) {
    return ops.sum(context, dtype, l.rank, l.shape, l.reduced, scale, x, out);
  });
}

napi_value matmul(Call& call) {
  const bptt_dtype dtype = call.dtype();
  Numbers numbers(call.numbers());
  bptt_matmul l{};
  l.m = numbers.count();
  l.n = numbers.count();
  l.k = numbers.count();
  l.left_row = numbers.count();
  l.left_k = numbers.count();
  l.right_k = numbers.count();
  l.right_col = numbers.count();
  l.out_row = numbers.count();
  l.accumulate = static_cast<int>(numbers.integer(0, 1));
  l.batch_rank = numbers.rank();
  numbers.counts(l.batch_rank, l.batch_shape);
  numbers.counts(l.batch_rank, l.left_batch);
  numbers.counts(l.batch_rank, l.right_batch);
  numbers.counts(l.batch_rank, l.out_batch);

  // The last element of an operand: of its last matrix, then of its last row.
  auto extent = [&](const int64_t* batch, int64_t rows, int64_t row, int64_t cols, int64_t col) {
    const int64_t shape[] = {rows, cols}, strides[] = {row, col};
    const int64_t matrix = extent_of(2, shape, strides);
    const int64_t batches = extent_of(l.batch_rank, l.batch_shape, batch);
    return matrix == 0 || batches == 0 ? 0 : sum_of(matrix, batches - 1);
  };
  const void* left = call.input(extent(l.left_batch, l.m, l.left_row, l.k, l.left_k), dtype);
  const void* right = call.input(extent(l.right_batch, l.k, l.right_k, l.n, l.right_col), dtype);
  const void* bias = call.optional_input(l.n, dtype);
  const int64_t out_count = extent(l.out_batch, l.m, l.out_row, l.n, 1);
  const napi_value out_handle = call.next();
  void* out = call.output(out_handle, out_count, dtype);
  if (l.accumulate) call.input(out_handle, out_count, dtype);
  return call.enqueue("matmul", [=](const bptt_ops& ops, bptt_context* context) {
    return ops.matmul(context, dtype, &l, left, right, bias, out);
  });
}

// -- optimizers --------------------------------------------------------------------------
// What they write in place is no output of theirs: a poisoned gradient skips the
// update and leaves parameters and states as they were.

// What one device does of an update. The parts of the list are in the cohorts' order.
struct Updates {
  struct Cohort {
    bptt_dtype dtype;
    bptt_optimizer rule;
    size_t count;
  };
  std::vector<Cohort> cohorts;
  std::vector<bptt_parameter> parameters;

  bptt_code operator()(const bptt_ops& ops, bptt_context* context) {
    const bptt_parameter* first = parameters.data();
    for (const Cohort& cohort : cohorts) {
      const bptt_code code = ops.optimize(context, cohort.dtype, &cohort.rule,
                                          static_cast<int64_t>(cohort.count), first);
      if (code != BPTT_OK) return code;
      first += cohort.count;
    }
    return BPTT_OK;
  }
};

constexpr size_t kRuleNumbers = 15;  // that read_rule() reads

bptt_optimizer read_rule(bptt_optimizer_kind kind, Numbers& hyper) {
  bptt_optimizer o{};
  o.kind = kind;
  for (double* number : {&o.lr, &o.weight_decay, &o.momentum, &o.dampening, &o.beta1, &o.beta2,
                         &o.eps, &o.alpha, &o.lr_decay, &o.mu_decay}) {
    *number = hyper.number();
  }
  for (int* flag : {&o.nesterov, &o.centered, &o.amsgrad, &o.maximize, &o.decoupled}) {
    *flag = static_cast<int>(hyper.integer(0, 1));
  }
  return o;
}

// Which states of a parameter an update must have.
std::array<bool, 3> needed_states(const bptt_optimizer& o) {
  switch (o.kind) {
    case BPTT_SGD:
      return {o.momentum != 0, false, false};
    case BPTT_RMSPROP:
      return {true, o.momentum != 0, o.centered != 0};
    case BPTT_ADAM:
    case BPTT_ADAMW:
    case BPTT_NADAM:
    case BPTT_RADAM:
      return {true, true, o.amsgrad != 0};
    case BPTT_ADAGRAD:
      return {true, false, false};
    case BPTT_AVERAGE:
      break;
  }
  return {};
}

napi_value optimize(Call& call) {
  const auto kind = call.option<bptt_optimizer_kind>();
  Numbers hyper(call.numbers());
  std::vector<bptt_optimizer> rules;
  for (size_t i = 0; i < hyper.size() / kRuleNumbers; ++i) rules.push_back(read_rule(kind, hyper));
  const std::vector<int64_t> layout = read_counts(call);
  const size_t cohorts = rules.size();
  if (layout.size() != 2 * cohorts) broken("a cohort is a rule, a dtype and a count");
  const std::vector<napi_value> steps = call.handles(cohorts, cohorts);
  const std::vector<int64_t> sizes = read_counts(call);
  const size_t count = sizes.size();
  const std::vector<napi_value> values = call.handles(count, count);
  const std::vector<napi_value> gradients = call.handles(count, count);
  const std::vector<napi_value> states = call.optional_handles(count * 3);

  Together<Updates> together;
  size_t i = 0;
  for (size_t c = 0; c < cohorts; ++c) {
    auto& [stream, inputs, outputs, updates] = together.on_device_of(call, steps[c]);
    const auto dtype = to_float_dtype(static_cast<double>(layout[2 * c]));
    const auto members = static_cast<size_t>(to_integer(layout[2 * c + 1], 0, count - i));
    rules[c].step = static_cast<double*>(call.operand(steps[c], 1, BPTT_FLOAT64, &inputs));
    updates.cohorts.push_back({dtype, rules[c], members});
    const std::array<bool, 3> needed = needed_states(rules[c]);
    for (const size_t end = i + members; i < end; ++i) {
      bptt_parameter p{};
      p.size = sizes[i];
      p.value = call.operand(values[i], p.size, dtype, &inputs);
      p.grad = call.operand(gradients[i], p.size, dtype, &inputs);
      for (size_t s = 0; s < 3; ++s) {
        const napi_value state = states[i * 3 + s];
        if (!call.is_null(state)) {
          p.state[s] = call.operand(state, p.size, dtype, &inputs);
        } else if (needed[s]) {
          broken("a state of the optimizer is missing");
        }
      }
      updates.parameters.push_back(p);
    }
  }
  if (i != count) broken("parameters that are of no cohort");
  together.enqueue(name_of(kind));
  return nullptr;
}

napi_value grad_norm(Call& call) {
  const bptt_dtype dtype = call.dtype();
  std::vector<int64_t> sizes = read_counts(call);
  const std::vector<napi_value> handles = call.handles(sizes.size(), sizes.size());
  std::vector<const void*> gradients(sizes.size());
  for (size_t i = 0; i < sizes.size(); ++i) {
    gradients[i] = call.operand(handles[i], sizes[i], dtype, &call.environment().inputs);
  }
  void* norm = call.output(1, dtype);
  return call.enqueue("clipGradNorm",
                      [=, gradients = std::move(gradients), sizes = std::move(sizes)](
                          const bptt_ops& ops, bptt_context* context) {
                        return ops.grad_norm(context, dtype, static_cast<int64_t>(sizes.size()),
                                             gradients.data(), sizes.data(), norm);
                      });
}

napi_value clip_grads(Call& call) {
  const bptt_dtype dtype = call.dtype();
  std::vector<int64_t> sizes = read_counts(call);
  const std::vector<napi_value> handles = call.handles(sizes.size(), sizes.size());
  std::vector<void*> gradients(sizes.size());
  for (size_t i = 0; i < sizes.size(); ++i) {
    gradients[i] = call.operand(handles[i], sizes[i], dtype, &call.environment().inputs);
  }
  const double most = call.number();
  const void* norm = call.optional_input(1, dtype);
  return call.enqueue(norm ? "clipGradNorm" : "clipGradValue",
                      [=, gradients = std::move(gradients), sizes = std::move(sizes)](
                          const bptt_ops& ops, bptt_context* context) {
                        return ops.clip_grads(context, dtype, static_cast<int64_t>(sizes.size()),
                                              gradients.data(), sizes.data(), most, norm);
                      });
}

// What one device does of a list of copies.
struct Copies {
  struct Copy {
    bptt_dtype dtype;
    int64_t count;
    const void* from;
    void* to;
  };
  std::vector<Copy> copies;

  bptt_code operator()(const bptt_ops& ops, bptt_context* context) const {
    for (const Copy& c : copies) {
      const bptt_code code = copy_adjacent(ops, context, c.dtype, c.count, c.from, c.to);
      if (code != BPTT_OK) return code;
    }
    return BPTT_OK;
  }
};

}  // namespace

napi_value copyAll(Call& call) {
  const std::vector<int64_t> layout = read_counts(call);
  if (layout.size() % 2 != 0) broken("a copy is a dtype and a count");
  const size_t count = layout.size() / 2;
  const std::vector<napi_value> sources = call.handles(count, count);
  const std::vector<napi_value> targets = call.handles(count, count);
  Together<Copies> together;
  for (size_t i = 0; i < count; ++i) {
    auto& [stream, inputs, outputs, list] = together.on_device_of(call, targets[i]);
    const auto dtype = to_enum<bptt_dtype>(static_cast<double>(layout[2 * i]));
    const int64_t size = layout[2 * i + 1];
    const void* from = call.operand(sources[i], size, dtype, &inputs);
    list.copies.push_back({dtype, size, from, call.operand(targets[i], size, dtype, &outputs)});
  }
  together.enqueue("copy");
  return nullptr;
}

// -- exports ------------------------------------------------------------------------------

std::string camel_case(std::string_view name) {
  std::string result;
  for (size_t i = 0; i < name.size(); ++i) {
    result += name[i] == '_' ? static_cast<char>(name[++i] - 'a' + 'A') : name[i];
  }
  return result;
}

std::span<const Op> op_functions() {
#define BPTT_FUNCTION(op) {camel_case(#op), exported<op>},
  static const Op functions[] = {BPTT_OPS(BPTT_FUNCTION)};
#undef BPTT_FUNCTION
  return functions;
}

}  // namespace bptt::addon
