import { checkBoolean, checkNumber } from '../check.ts'
import { refusal } from '../messages.ts'
import { groupsOf, type ParametersOrGroups, type Rule } from './groups.ts'
import { Optimizer } from './optimizer.ts'

/** Options of {@link SGD}. */
export interface SGDOptions {
  /** Learning rate. Default 1e-3. */
  lr?: number | undefined
  /** How much of the running sum of gradients each step keeps; the step goes along that sum. Default 0: the gradient alone. */
  momentum?: number | undefined
  /** Part of each new gradient that is not added to that sum. Default 0. */
  dampening?: number | undefined
  /** Added to the gradient, times the parameter. Default 0. */
  weightDecay?: number | undefined
  /** Look ahead by the momentum (Nesterov). Needs momentum, and no dampening. Default false. */
  nesterov?: boolean | undefined
  /** Go up the gradient. Default false. */
  maximize?: boolean | undefined
}

const NAMES = ['lr', 'momentum', 'dampening', 'weightDecay', 'nesterov', 'maximize']

/** Stochastic gradient descent, as torch.optim.SGD. State: momentum_buffer. */
export class SGD extends Optimizer {
  /** @throws RangeError ERR_BPTT_VALUE, TypeError ERR_BPTT_TYPE */
  constructor(parameters: ParametersOrGroups<SGDOptions>, options: SGDOptions = {}) {
    super('SGD', groupsOf('SGD', parameters, options, NAMES, ruleOf))
  }
}

function ruleOf(options: SGDOptions): Rule {
  const where = 'SGD'
  const momentum = checkNumber(where, 'momentum', options.momentum ?? 0, 0)
  const dampening = checkNumber(where, 'dampening', options.dampening ?? 0)
  const nesterov = checkBoolean(where, 'nesterov', options.nesterov ?? false)
  if (nesterov && (momentum === 0 || dampening !== 0)) {
    throw refusal(
      where,
      `nesterov expects momentum above 0 and dampening 0, got ${momentum} and ${dampening}`,
    )
  }
  return {
    hyper: {
      lr: checkNumber(where, 'lr', options.lr ?? 1e-3, 0),
      momentum,
      dampening,
      nesterov,
      weightDecay: checkNumber(where, 'weightDecay', options.weightDecay ?? 0, 0),
      maximize: checkBoolean(where, 'maximize', options.maximize ?? false),
    },
    states: [momentum > 0 ? 'momentum_buffer' : null, null, null],
  }
}
