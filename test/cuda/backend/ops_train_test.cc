// Embeddings, losses and optimizers of the CUDA backend.
#include <algorithm>

#include "backend/sides.h"
#include "native/optimizer_cases.h"

using namespace bptt_test;

namespace {

const double kNan = std::numeric_limits<double>::quiet_NaN();
const double kInf = std::numeric_limits<double>::infinity();

// -- embedding -------------------------------------------------------------------------

template <class T>
void test_embedding_case(Comparison& compare, int64_t n, int64_t rows, int64_t cols,
                         int64_t padding) {
  Doubles index(n);
  for (int64_t i = 0; i < n; ++i) index[i] = static_cast<double>(i * i * 7 % rows);
  // Sums in the CPU's order: the same bits.
  compare("embedding", 0, [&](Side& s) {
    Numbers<int32_t> places(s, index);
    Numbers<T> table(s, random_values(rows * cols)), dout(s, random_values(n * cols, -1, 1, 4));
    Numbers<T> out(s, n * cols + 1), dtable(s, rows * cols + 1);
    s.done(s.ops.embedding(&s.context, dtype_of<T>, n, rows, cols, table, places, out));
    s.done(s.ops.embedding_backward(&s.context, dtype_of<T>, n, rows, cols, padding, places, dout,
                                    dtable));
    return Outputs{out.read(), dtable.read()};
  });
}

template <class T>
void test_embedding(Comparison& compare) {
  for (int64_t n : {0, 1, 9, 300})
    for (int64_t cols : {0, 1, 7, 64}) test_embedding_case<T>(compare, n, 5, cols, -1);
  test_embedding_case<T>(compare, 100, 5, 9, 3);
  test_embedding_case<T>(compare, 3000, 700, 5, 0);
}

// Zeros where the index is out of range, an error at the next wait, and all well after it.
template <class T>
void test_bad_index(Comparison& compare) {
  Side& s = compare.cuda();
  Numbers<T> table(s, {1, 2, 3, 4, 5, 6, 7, 8}), out(s, 6), dtable(s, 8);
  for (double bad : {4.0, -1.0}) {
    Numbers<int32_t> index(s, {3, bad, 0});
    s.done(s.ops.embedding(&s.context, dtype_of<T>, 3, 4, 2, table, index, out));
    CHECK(s.wait() == BPTT_INDEX && std::strlen(s.context.message) > 0);
    check_close("bad index", out.read(), {7, 8, 0, 0, 1, 2}, 0);
    s.done(s.ops.embedding_backward(&s.context, dtype_of<T>, 3, 4, 2, -1, index, table, dtable));
    CHECK(s.wait() == BPTT_INDEX);
    check_close("bad index backward", dtable.read(), {5, 6, 0, 0, 0, 0, 1, 2}, 0);
  }
  CHECK(s.wait() == BPTT_OK);
}

// -- cross entropy ------------------------------------------------------------------------

constexpr int32_t kIgnore = -100;

template <class T>
void test_cross_entropy_case(Comparison& compare, const Lines& l, bptt_reduction reduction,
                             int ignored_of, const Doubles& x) {
  Doubles target(l.rows());
  for (int64_t r = 0; r < l.rows(); ++r)
    target[r] = r % 5 < ignored_of ? kIgnore : static_cast<double>(r * 7 % l.classes);
  const int64_t outputs = reduction == BPTT_NONE ? l.rows() : 1;
  const std::string name = "cross_entropy " + std::to_string(reduction) + " of " +
                           std::to_string(l.outer) + "," + std::to_string(l.classes) + "," +
                           std::to_string(l.inner);
  compare(name, kSideTolerance<T>, [&](Side& s) {
    Numbers<T> logits(s, x), loss(s, outputs), lse(s, l.rows() + 1), dx(s, l.size() + 1);
    Numbers<T> dloss(s, random_values(outputs, 0.5, 2, 3));
    Numbers<int32_t> classes(s, target);
    s.done(s.ops.cross_entropy(&s.context, dtype_of<T>, reduction, l.outer, l.classes, l.inner,
                               kIgnore, logits, classes, loss, lse));
    s.done(s.ops.cross_entropy_backward(&s.context, dtype_of<T>, reduction, l.outer, l.classes,
                                        l.inner, kIgnore, logits, classes, lse, dloss, dx));
    return Outputs{loss.read(), lse.read(), dx.read()};
  });
}

template <class T>
void test_cross_entropy(Comparison& compare) {
  for (bptt_reduction reduction : {BPTT_NONE, BPTT_MEAN, BPTT_SUM}) {
    for (const Lines& l : kLines)
      for (int ignored_of : {0, 2, 5})
        test_cross_entropy_case<T>(compare, l, reduction, ignored_of,
                                   random_values(l.size(), -6, 6));
    test_cross_entropy_case<T>(compare, {9000, 3, 1}, reduction, 2, random_values(27000));
    for (const Lines& l : {Lines{6, 5, 1}, Lines{1, 5, 6}}) {
      Doubles x = random_values(l.size());
      x[static_cast<size_t>(l.at(0, 2))] = kNan;  // ignored
      x[static_cast<size_t>(l.at(1, 3))] = -kInf;
      test_cross_entropy_case<T>(compare, l, reduction, 1, x);
    }
  }
}

// Losses and sums of losses at the end of the range.
template <class T>
void test_far_cross_entropy(Comparison& compare) {
  for (bptt_reduction reduction : {BPTT_NONE, BPTT_MEAN, BPTT_SUM})
    for (const Lines& l : {Lines{5, 3, 1}, Lines{2, 5, 6}, Lines{9000, 3, 1}}) {
      const auto n = static_cast<size_t>(l.size());
      test_cross_entropy_case<T>(compare, l, reduction, 1, Doubles(n, Far<T>::kLargest));
      test_cross_entropy_case<T>(compare, l, reduction, 1, random_values(n, 0, Far<T>::kLargest));
    }
}

template <class T>
void test_bad_target(Comparison& compare) {
  Side& s = compare.cuda();
  Numbers<T> logits(s, {1, 2, 3, 4, 5, 6}), loss(s, 2), lse(s, 3), dx(s, 6), dloss(s, {1, 1});
  for (double bad : {3.0, -1.0}) {
    Numbers<int32_t> target(s, {bad, 0});
    s.done(s.ops.cross_entropy(&s.context, dtype_of<T>, BPTT_NONE, 2, 3, 1, kIgnore, logits, target,
                               loss, lse));
    CHECK(s.wait() == BPTT_INDEX);
    CHECK(loss.read()[0] == 0 && loss.read()[1] > 0);
    s.done(s.ops.cross_entropy_backward(&s.context, dtype_of<T>, BPTT_NONE, 2, 3, 1, kIgnore,
                                        logits, target, lse, dloss, dx));
    CHECK(s.wait() == BPTT_INDEX);
    const Doubles gradient = dx.read();
    CHECK(gradient[0] == 0 && gradient[1] == 0 && gradient[2] == 0 && gradient[3] < 0);
  }
}

// -- CTC ----------------------------------------------------------------------------------

template <class T>
void test_ctc_case(Comparison& compare, int64_t steps, int64_t B, int64_t C, int64_t S,
                   int32_t blank, bool gradient) {
  Doubles labels(B * S), layout(3 * B), log_probs = random_values(steps * B * C, -9, 0);
  for (int64_t b = 0; b < B; ++b) {
    layout[b] = static_cast<double>(b == 1 ? 0 : std::max<int64_t>(steps - b % 3, 0));
    layout[B + b] = static_cast<double>(S - b % (S + 1));
    layout[2 * B + b] = static_cast<double>(b * S);
    for (int64_t i = 0; i < S; ++i) {
      const int64_t c = (b + i * i) % (C - 1);
      labels[b * S + i] = static_cast<double>(c < blank ? c : c + 1);
    }
  }
  if (log_probs.size() > 2) log_probs[2] = -kInf;
  const std::string name = "ctc_loss of " + std::to_string(steps) + "," + std::to_string(B) + "," +
                           std::to_string(C) + "," + std::to_string(S);
  compare(name, 4 * kSideTolerance<T>, [&](Side& s) {
    Numbers<T> x(s, log_probs), loss(s, B + 1), alpha(s, B * steps * (2 * S + 4));
    Numbers<T> dx(s, steps * B * C + 1), dloss(s, random_values(B, 0.5, 2, 3));
    Numbers<int32_t> targets(s, labels), rows(s, layout);
    T* kept = gradient ? static_cast<T*>(alpha) : nullptr;
    s.done(s.ops.ctc_loss(&s.context, dtype_of<T>, steps, B, C, S, B * S, blank, !gradient, x,
                          targets, rows, loss, kept));
    if (gradient)
      s.done(s.ops.ctc_loss_backward(&s.context, dtype_of<T>, steps, B, C, S, B * S, blank, x,
                                     targets, rows, kept, dloss, dx));
    return Outputs{loss.read(), dx.read()};
  });
}

template <class T>
void test_ctc(Comparison& compare) {
  for (bool gradient : {false, true}) {
    test_ctc_case<T>(compare, 0, 3, 3, 2, 0, gradient);
    test_ctc_case<T>(compare, 1, 2, 2, 0, 1, gradient);
    test_ctc_case<T>(compare, 7, 6, 4, 3, 2, gradient);
    test_ctc_case<T>(compare, 40, 5, 9, 17, 0, gradient);
  }
  test_ctc_case<T>(compare, 300, 1, 300, 140, 299, true);
}

// Zeros in the row of a label that is refused, and an error at the next wait.
template <class T>
void test_bad_label(Comparison& compare) {
  Side& s = compare.cuda();
  Numbers<T> x(s, Doubles(12, -1)), loss(s, 2), alpha(s, 24), dx(s, 12), dloss(s, {1, 1});
  Numbers<int32_t> layout(s, {2, 2, 1, 1, 0, 1});
  for (double bad : {3.0, -1.0, 0.0}) {
    Numbers<int32_t> targets(s, {bad, 1});
    s.done(s.ops.ctc_loss(&s.context, dtype_of<T>, 2, 2, 3, 1, 2, 0, 0, x, targets, layout, loss,
                          alpha));
    CHECK(s.wait() == BPTT_INDEX);
    CHECK(loss.read()[0] == 0 && loss.read()[1] > 0);
    s.done(s.ops.ctc_loss_backward(&s.context, dtype_of<T>, 2, 2, 3, 1, 2, 0, x, targets, layout,
                                   alpha, dloss, dx));
    CHECK(s.wait() == BPTT_INDEX);
    const Doubles gradient = dx.read();
    CHECK(gradient[0] == 0 && gradient[1] == 0 && gradient[2] == 0 && gradient[4] < 0);
  }
}

// -- losses of pairs ------------------------------------------------------------------------

template <class T>
void test_pairwise_case(Comparison& compare, bptt_pairwise_loss loss, bptt_reduction reduction,
                        const Doubles& x, const Doubles& target) {
  const int64_t n = static_cast<int64_t>(x.size()), outputs = reduction == BPTT_NONE ? n : 1;
  const std::string name = "pairwise " + std::to_string(loss) + " " + std::to_string(reduction) +
                           " of " + std::to_string(n);
  compare(name, kSideTolerance<T>, [&](Side& s) {
    Numbers<T> in(s, x), t(s, target), out(s, outputs + 1), dx(s, n + 1), dtarget(s, n + 1);
    Numbers<T> dloss(s, random_values(outputs, 0.5, 2, 3)), only(s, n + 1);
    s.done(s.ops.pairwise_loss(&s.context, dtype_of<T>, loss, reduction, n, in, t, out));
    s.done(s.ops.pairwise_loss_backward(&s.context, dtype_of<T>, loss, reduction, n, in, t, dloss,
                                        dx, dtarget));
    s.done(s.ops.pairwise_loss_backward(&s.context, dtype_of<T>, loss, reduction, n, in, t, dloss,
                                        nullptr, only));
    return Outputs{out.read(), dx.read(), dtarget.read(), only.read()};
  });
}

template <class T>
void test_pairwise(Comparison& compare) {
  for (bptt_pairwise_loss loss : {BPTT_MSE, BPTT_BCE_WITH_LOGITS})
    for (bptt_reduction reduction : {BPTT_NONE, BPTT_MEAN, BPTT_SUM}) {
      for (size_t n : {0, 1, 9, 4096, 20000})
        test_pairwise_case<T>(compare, loss, reduction, random_values(n, -6, 6),
                              random_values(n, 0, 1, 2));
      test_pairwise_case<T>(compare, loss, reduction, {100, -100, 1e4, -1e4, 0, -0.0},
                            {0, 1, 0.5, 0.5, 1, 0});
      test_pairwise_case<T>(compare, loss, reduction, {kNan, 1}, {0, kNan});
    }
}

// Losses at the end of the range, whose sum leaves it; slopes whose double would.
template <class T>
void test_far_pairwise(Comparison& compare) {
  constexpr double kMost = Far<T>::kLargest;
  const double side = std::sqrt(kMost);
  for (bptt_reduction reduction : {BPTT_NONE, BPTT_MEAN, BPTT_SUM})
    for (size_t n : {4, 9000}) {
      test_pairwise_case<T>(compare, BPTT_MSE, reduction, Doubles(n, side), Doubles(n, 0));
      Doubles one(n, 0);
      one[n - 1] = 1.3 * side;  // its square alone leaves it
      test_pairwise_case<T>(compare, BPTT_MSE, reduction, one, Doubles(n, 0));
      test_pairwise_case<T>(compare, BPTT_MSE, reduction, Doubles(n, kMost), Doubles(n, 0));
      test_pairwise_case<T>(compare, BPTT_BCE_WITH_LOGITS, reduction, Doubles(n, kMost),
                            Doubles(n, 0));
    }
}

// -- optimizers --------------------------------------------------------------------------

// Tensors that lie in one array, a number apart from each other; more than one launch takes.
struct Parts {
  std::vector<int64_t> sizes = {1, 9, 9000, 0, 129, 4096};
  std::vector<int64_t> at;
  int64_t n = 0;

  Parts() {
    for (int64_t i = 0; i < 150; ++i) sizes.push_back(i % 4);
    for (int64_t size : sizes) {
      at.push_back(n);
      n += size + 1;
    }
  }
  int64_t count() const { return static_cast<int64_t>(sizes.size()); }
};

// Parameters of one side, with the state that the options need.
template <class T>
struct Parameters {
  Side& side;
  bptt_optimizer options;
  Parts parts;
  Numbers<T> values, states[3];
  Numbers<double> step;

  Parameters(Side& s, const bptt_optimizer& o)
      : side(s),
        options(o),
        values(s, random_values(static_cast<size_t>(parts.n))),
        states{zeros(), zeros(), zeros()},
        step(s, Doubles{0}) {
    options.step = step;
  }

  Numbers<T> zeros() { return Numbers<T>(side, Doubles(static_cast<size_t>(parts.n), 0)); }
  Numbers<T> gradients(unsigned t) {
    return Numbers<T>(side, random_values(static_cast<size_t>(parts.n), -1, 1.5, 100 + t));
  }

  void update(const Numbers<T>& grads) {
    const bptt_optimizer& o = options;
    const auto needed = needed_states(o);
    std::vector<bptt_parameter> list;
    for (size_t i = 0; i < parts.sizes.size(); ++i) {
      const int64_t at = parts.at[i];
      bptt_parameter p{parts.sizes[i], values + at, grads + at, {}};
      for (size_t j = 0; j < 3; ++j)
        if (needed[j]) p.state[j] = states[j] + at;
      list.push_back(p);
    }
    side.done(side.ops.optimize(&side.context, dtype_of<T>, &options, parts.count(), list.data()));
  }

  Outputs read() {
    return {step.read(), values.read(), states[0].read(), states[1].read(), states[2].read()};
  }
};

template <class T>
void test_optimizers(Comparison& compare) {
  for_each_optimizer([&](const char* name, const bptt_optimizer& options) {
    compare(name, kSideTolerance<T>, [&](Side& s) {
      Parameters<T> parameters(s, options);
      for (unsigned t = 0; t < 7; ++t) parameters.update(parameters.gradients(t));
      return parameters.read();
    });
  });
}

// An update that comes after an index out of range changes nothing, nor does it count.
template <class T>
void test_poisoned_update(Comparison& compare) {
  Side& s = compare.cuda();
  Numbers<int32_t> index(s, {9});
  Numbers<T> table(s, 8), out(s, 2);
  for (bptt_optimizer_kind kind : {BPTT_SGD, BPTT_ADAM, BPTT_ADAMW, BPTT_RMSPROP, BPTT_NADAM,
                                   BPTT_RADAM, BPTT_ADAGRAD, BPTT_AVERAGE}) {
    bptt_optimizer o = optimizer_of(kind);
    o.momentum = 0.9;
    Parameters<T> parameters(s, o);
    parameters.update(parameters.gradients(1));
    // All memory is there before: making it waits, which would clear the flag.
    const Numbers<T> grads = parameters.gradients(2);
    const Outputs before = parameters.read();
    s.done(s.ops.embedding(&s.context, dtype_of<T>, 1, 4, 2, table, index, out));
    parameters.update(grads);
    CHECK(s.wait() == BPTT_INDEX);
    const Outputs unchanged = parameters.read();
    for (size_t i = 0; i < before.size(); ++i) CHECK(same_bits(before[i], unchanged[i]));
    parameters.update(grads);
    CHECK(parameters.step.read()[0] == 2);
    CHECK(!same_bits(parameters.values.read(), before[1]));
  }
}

// -- gradient norm -------------------------------------------------------------------------

template <class T>
void test_clip_case(Comparison& compare, double magnitude, double max_norm, double special) {
  const Parts parts;
  compare("clip", kSideTolerance<T>, [&](Side& s) {
    Doubles values = random_values(static_cast<size_t>(parts.n));
    for (double& v : values) v *= magnitude;
    values[static_cast<size_t>(parts.at[4]) + 5] += special;
    Numbers<T> grads(s, values), norm(s, 1);
    std::vector<void*> pointers;
    for (int64_t at : parts.at) pointers.push_back(grads + at);
    s.done(s.ops.grad_norm(&s.context, dtype_of<T>, parts.count(), pointers.data(),
                           parts.sizes.data(), norm));
    s.done(s.ops.clip_grads(&s.context, dtype_of<T>, parts.count(), pointers.data(),
                            parts.sizes.data(), max_norm, norm));
    Outputs outputs{norm.read(), {}, {}};  // the parts, and what lies between them
    const Doubles all = grads.read();
    for (size_t i = 0; i < parts.at.size(); ++i) {
      const auto begin = all.begin() + parts.at[i], end = begin + parts.sizes[i];
      outputs[1].insert(outputs[1].end(), begin, end);
      outputs[2].push_back(*end);
    }
    return outputs;
  });
}

template <class T>
void test_clip(Comparison& compare) {
  test_clip_case<T>(compare, 1, 5, 0);
  test_clip_case<T>(compare, 1, 1000, 0);  // already short enough
  test_clip_case<T>(compare, 1, 1e9, 0);
  test_clip_case<T>(compare, 1e-25, 1, 0);  // squares below the range of float
  test_clip_case<T>(compare, 1e25, 1, 0);   // and above it
  test_clip_case<T>(compare, Far<T>::kSmall, 1, 0);
  for (double far : {Far<T>::kLarge, Far<T>::kLargest / 256, Far<T>::kLargest}) {
    test_clip_case<T>(compare, far, far, 0);  // the last norm is infinite
    test_clip_case<T>(compare, far, 1, 0);
    test_clip_case<T>(compare, far, sizeof(T) == 4 ? 1e-10 : 1e-20, 0);  // a tiny ratio
  }
  test_clip_case<T>(compare, 1, 5, kNan);
  for (double most : {0.0, 0.5, HUGE_VAL}) {
    compare("clamp", 0, [&](Side& s) {
      Doubles values = random_values(5000);
      values[7] = kNan, values[8] = -kInf;
      Numbers<T> grads(s, values);
      void* pointer = grads + 0;
      const int64_t size = 4999;
      s.done(s.ops.clip_grads(&s.context, dtype_of<T>, 1, &pointer, &size, most, nullptr));
      return Outputs{grads.read()};
    });
  }
  compare("clip nothing", 0, [&](Side& s) {
    Numbers<T> norm(s, 1);
    s.done(s.ops.grad_norm(&s.context, dtype_of<T>, 0, nullptr, nullptr, norm));
    s.done(s.ops.clip_grads(&s.context, dtype_of<T>, 0, nullptr, nullptr, 1, norm));
    return Outputs{norm.read()};
  });
}

template <class T>
void test_all(Comparison& compare) {
  test_embedding<T>(compare);
  test_bad_index<T>(compare);
  test_cross_entropy<T>(compare);
  test_far_cross_entropy<T>(compare);
  test_bad_target<T>(compare);
  test_ctc<T>(compare);
  test_bad_label<T>(compare);
  test_pairwise<T>(compare);
  test_far_pairwise<T>(compare);
  test_optimizers<T>(compare);
  test_poisoned_update<T>(compare);
  test_clip<T>(compare);
}

}  // namespace

int main() {
  if (const bptt_backend* cuda = cuda_backend()) {
    Comparison compare(*cuda, *bptt::cpu_backend());
    test_all<float>(compare);
    test_all<double>(compare);
  }
  return finish();
}
