// The optimizers that tests try: each kind with the options that change what it computes.
#pragma once

#include <array>

#include "backend.h"

namespace bptt_test {

inline bptt_optimizer optimizer_of(bptt_optimizer_kind kind) {
  bptt_optimizer o{};
  o.kind = kind;
  o.lr = 0.01;
  o.beta1 = 0.9;
  o.beta2 = 0.999;
  o.eps = 1e-8;
  o.alpha = 0.99;
  o.lr_decay = 0.1;
  o.mu_decay = 0.9;
  return o;
}

// Which of a parameter's states the options need; the others must not be touched.
inline std::array<bool, 3> needed_states(const bptt_optimizer& o) {
  if (o.kind == BPTT_AVERAGE) return {};
  const bool adam = o.kind != BPTT_SGD && o.kind != BPTT_RMSPROP && o.kind != BPTT_ADAGRAD;
  return {o.kind != BPTT_SGD || o.momentum != 0,
          adam || (o.kind == BPTT_RMSPROP && o.momentum != 0), o.amsgrad != 0 || o.centered != 0};
}

// Calls test(name, options).
template <class Test>
void for_each_optimizer(const Test& test) {
  const auto check = [&](const char* name, bptt_optimizer_kind kind, const auto& set) {
    bptt_optimizer o = optimizer_of(kind);
    set(o);
    test(name, o);
  };
  check("sgd", BPTT_SGD, [](auto&) {});
  check("sgd decay maximize", BPTT_SGD, [](auto& o) { o.weight_decay = 0.1, o.maximize = 1; });
  check("sgd momentum", BPTT_SGD, [](auto& o) { o.momentum = 0.9, o.dampening = 0.3; });
  check("sgd nesterov", BPTT_SGD,
        [](auto& o) { o.momentum = 0.9, o.nesterov = 1, o.weight_decay = 0.1; });
  check("adam", BPTT_ADAM, [](auto&) {});
  check("adam decay", BPTT_ADAM, [](auto& o) { o.weight_decay = 0.1, o.maximize = 1; });
  check("adam betas", BPTT_ADAM, [](auto& o) { o.beta1 = 0.3, o.beta2 = 0.7, o.eps = 0.01; });
  check("amsgrad", BPTT_ADAM, [](auto& o) { o.amsgrad = 1, o.beta2 = 0.5; });
  check("adamw", BPTT_ADAMW, [](auto& o) { o.weight_decay = 0.1, o.maximize = 1; });
  check("adamw amsgrad", BPTT_ADAMW, [](auto& o) { o.weight_decay = 0.1, o.amsgrad = 1; });
  check("rmsprop", BPTT_RMSPROP, [](auto&) {});
  check("rmsprop momentum", BPTT_RMSPROP,
        [](auto& o) { o.momentum = 0.9, o.weight_decay = 0.1, o.maximize = 1; });
  check("rmsprop centered", BPTT_RMSPROP, [](auto& o) { o.centered = 1, o.alpha = 0.9; });
  check("rmsprop all", BPTT_RMSPROP, [](auto& o) { o.centered = 1, o.momentum = 0.5; });
  check("nadam", BPTT_NADAM, [](auto&) {});
  check("nadam decay", BPTT_NADAM, [](auto& o) { o.weight_decay = 0.1, o.maximize = 1; });
  check("nadam decoupled", BPTT_NADAM,
        [](auto& o) { o.weight_decay = 0.1, o.decoupled = 1, o.beta1 = 0.5; });
  check("radam", BPTT_RADAM, [](auto& o) { o.weight_decay = 0.1; });
  // Rectified from its sixth step on.
  check("radam decoupled", BPTT_RADAM, [](auto& o) {
    o.weight_decay = 0.1, o.decoupled = 1, o.beta2 = 0.99, o.eps = 0.01, o.maximize = 1;
  });
  check("adagrad", BPTT_ADAGRAD, [](auto&) {});
  check("adagrad decay", BPTT_ADAGRAD, [](auto& o) { o.weight_decay = 0.1, o.maximize = 1; });
  check("average", BPTT_AVERAGE, [](auto& o) { o.alpha = 0.7; });
  check("average of equals", BPTT_AVERAGE, [](auto& o) { o.alpha = -1; });
}

}  // namespace bptt_test
