// The factors of update number t of an optimizer: the part of torch.optim's formulas that is the
// same for all elements, in double. Every backend includes it.
#pragma once

#include <math.h>

#include <cstdint>

#include "backend.h"
#include "shared/host_device.h"

namespace bptt {

// base^n for a whole n >= 0, the same on every machine.
BPTT_HOST_DEVICE inline double whole_power(double base, double n) {
  double result = 1;
  for (uint64_t bits = static_cast<uint64_t>(n); bits; bits >>= 1, base *= base)
    if (bits & 1) result *= base;
  return result;
}

// Adam and its kin, of a gradient g with decay, means m and v:
// value = shrink * value - grad_size * g / d - mean_size * m / d, d = sqrt(v) / root + eps.
// Where not `divided` (RAdam's first updates), d = 1.
struct AdamNumbers {
  double shrink;  // 1 - lr * weight_decay where decay is decoupled, else 1
  double weight_decay, mean_size, grad_size, root, eps;
  bool divided;
};

BPTT_HOST_DEVICE inline double nadam_momentum(const bptt_optimizer& o, double power) {
  return o.beta1 * (1 - 0.5 * power);
}

BPTT_HOST_DEVICE inline AdamNumbers adam_numbers(const bptt_optimizer& o, double t) {
  const bool decoupled = o.kind == BPTT_ADAMW || o.decoupled != 0;
  const double shrink = decoupled ? 1 - o.lr * o.weight_decay : 1;
  const double weight_decay = decoupled ? 0 : o.weight_decay;
  const double power2 = whole_power(o.beta2, t);
  const double root = ::sqrt(1 - power2);
  if (o.kind == BPTT_NADAM) {
    // The product of the momenta so far. Below 2^-54 it changes no 1 - product any more.
    double product = 1, power = 1;
    for (double i = 0; i < t && product > 0x1p-54; ++i) {
      power *= o.mu_decay;
      product *= nadam_momentum(o, power);
    }
    power = whole_power(o.mu_decay, t);
    const double now = nadam_momentum(o, power);
    const double next = nadam_momentum(o, power * o.mu_decay);
    return {shrink,
            weight_decay,
            o.lr * next / (1 - product * next),
            o.lr * (1 - now) / (1 - product),
            root,
            o.eps,
            true};
  }
  const double step_size = o.lr / (1 - whole_power(o.beta1, t));
  if (o.kind == BPTT_RADAM) {
    // The length of the average that v stands for, and its limit: rho of Liu et al. 2020. Up to
    // 5, as in torch.optim, v is too uncertain to divide by.
    const double most = 2 / (1 - o.beta2) - 1;
    const double length = most - 2 * t * power2 / (1 - power2);
    if (!(length > 5)) return {shrink, weight_decay, step_size, 0, 1, 0, false};
    const double rectified =
        ::sqrt((length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length));
    return {shrink, weight_decay, step_size * rectified, 0, root, o.eps / root, true};
  }
  return {shrink, weight_decay, step_size, 0, root, o.eps, true};
}

// RMSprop and Adagrad, of a gradient g with decay:
// square = alpha * square + fresh * g^2, value -= lr * g / (sqrt(square) + eps).
struct SquareNumbers {
  double lr, alpha, fresh, momentum;
  bool centered;
};

BPTT_HOST_DEVICE inline SquareNumbers square_numbers(const bptt_optimizer& o, double t) {
  if (o.kind == BPTT_ADAGRAD) return {o.lr / (1 + (t - 1) * o.lr_decay), 1, 1, 0, false};
  return {o.lr, o.alpha, 1 - o.alpha, o.momentum, o.centered != 0};
}

// Averages of weights: how much update t takes of the new one.
BPTT_HOST_DEVICE inline double average_weight(const bptt_optimizer& o, double t) {
  if (t == 1) return 1;
  return o.alpha < 0 ? 1 / t : 1 - o.alpha;
}

}  // namespace bptt
