import { checkBoolean, checkNumber, checkOptions } from '../check.ts'
import { argumentError, valueError } from '../messages.ts'
import type { Tensor } from '../tensor.ts'
import { type Hyper, Optimizer } from './optimizer.ts'

/** Options of {@link Adam} and {@link AdamW}. */
export interface AdamOptions {
  /** Learning rate. Default 1e-3. */
  lr?: number | undefined
  /** Decay of the means of the gradient and of its square. Default [0.9, 0.999]. */
  betas?: readonly [number, number] | undefined
  /** Added to the denominator. Default 1e-8. */
  eps?: number | undefined
  /** Adam: added to the gradient, times the parameter; default 0. AdamW: decoupled; default 0.01. */
  weightDecay?: number | undefined
  /** Use the largest mean square so far. Default false. */
  amsgrad?: boolean | undefined
  /** Go up the gradient. Default false. */
  maximize?: boolean | undefined
}

/** Adam, as torch.optim.Adam. State: exp_avg, exp_avg_sq, max_exp_avg_sq (amsgrad). */
export class Adam extends Optimizer {
  /** @throws RangeError ERR_BPTT_VALUE, TypeError ERR_BPTT_TYPE */
  constructor(parameters: Iterable<Tensor>, options: AdamOptions = {}) {
    const { lr, hyper, states } = checkAdam('Adam', options, 0)
    super('Adam', parameters, lr, hyper, states)
  }
}

/** Adam with decoupled weight decay, as torch.optim.AdamW. State as {@link Adam}. */
export class AdamW extends Optimizer {
  /** @throws RangeError ERR_BPTT_VALUE, TypeError ERR_BPTT_TYPE */
  constructor(parameters: Iterable<Tensor>, options: AdamOptions = {}) {
    const { lr, hyper, states } = checkAdam('AdamW', options, 0.01)
    super('AdamW', parameters, lr, hyper, states)
  }
}

function checkAdam(
  where: string,
  options: AdamOptions,
  weightDecay: number,
): { lr: number; hyper: Hyper; states: (string | null)[] } {
  options = checkOptions(where, options, ['lr', 'betas', 'eps', 'weightDecay', 'amsgrad', 'maximize'])
  const given: unknown = options.betas ?? [0.9, 0.999]
  const betas = Array.isArray(given) ? given.slice(0, 3) : []
  if (betas.length !== 2) throw argumentError(where, 'betas to be two numbers', given)
  const [beta1, beta2] = betas.map((beta) => {
    if (checkNumber(where, 'betas', beta, 0, 1) === 1) throw valueError(where, 'betas below 1', beta)
    return beta as number
  })
  const amsgrad = checkBoolean(where, 'amsgrad', options.amsgrad ?? false)
  return {
    lr: checkNumber(where, 'lr', options.lr ?? 1e-3, 0),
    hyper: {
      beta1,
      beta2,
      eps: checkNumber(where, 'eps', options.eps ?? 1e-8, 0),
      weightDecay: checkNumber(where, 'weightDecay', options.weightDecay ?? weightDecay, 0),
      amsgrad,
      maximize: checkBoolean(where, 'maximize', options.maximize ?? false),
    },
    states: ['exp_avg', 'exp_avg_sq', amsgrad ? 'max_exp_avg_sq' : null],
  }
}
