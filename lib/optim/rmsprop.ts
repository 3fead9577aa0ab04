import { checkBoolean, checkNumber } from '../check.ts'
import { groupsOf, type ParametersOrGroups, type Rule } from './groups.ts'
import { Optimizer } from './optimizer.ts'

/** Options of {@link RMSprop}. */
export interface RMSpropOptions {
  /** Learning rate. Default 1e-2. */
  lr?: number | undefined
  /** Decay of the mean square. Default 0.99. */
  alpha?: number | undefined
  /** Added to the denominator. Default 1e-8. */
  eps?: number | undefined
  /** Added to the gradient, times the parameter. Default 0. */
  weightDecay?: number | undefined
  /** How much of the running sum of updates each step keeps; the step goes along that sum. Default 0: the update alone. */
  momentum?: number | undefined
  /** Divide by the root of the variance (the mean square less the square of the mean) of the gradient. Default false. */
  centered?: boolean | undefined
  /** Go up the gradient. Default false. */
  maximize?: boolean | undefined
}

const NAMES = ['lr', 'alpha', 'eps', 'weightDecay', 'momentum', 'centered', 'maximize']

/** RMSprop, as torch.optim.RMSprop. State: square_avg, momentum_buffer, grad_avg (centered). */
export class RMSprop extends Optimizer {
  /** @throws RangeError ERR_BPTT_VALUE, TypeError ERR_BPTT_TYPE */
  constructor(parameters: ParametersOrGroups<RMSpropOptions>, options: RMSpropOptions = {}) {
    super('RMSprop', groupsOf('RMSprop', parameters, options, NAMES, ruleOf))
  }
}

function ruleOf(options: RMSpropOptions): Rule {
  const where = 'RMSprop'
  const momentum = checkNumber(where, 'momentum', options.momentum ?? 0, 0)
  const centered = checkBoolean(where, 'centered', options.centered ?? false)
  return {
    hyper: {
      lr: checkNumber(where, 'lr', options.lr ?? 1e-2, 0),
      alpha: checkNumber(where, 'alpha', options.alpha ?? 0.99, 0),
      eps: checkNumber(where, 'eps', options.eps ?? 1e-8, 0),
      weightDecay: checkNumber(where, 'weightDecay', options.weightDecay ?? 0, 0),
      momentum,
      centered,
      maximize: checkBoolean(where, 'maximize', options.maximize ?? false),
    },
    states: ['square_avg', momentum > 0 ? 'momentum_buffer' : null, centered ? 'grad_avg' : null],
  }
}
