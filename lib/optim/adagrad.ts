import { checkBoolean, checkNumber } from '../check.ts'
import { groupsOf, type ParametersOrGroups, type Rule } from './groups.ts'
import { Optimizer } from './optimizer.ts'

/** Options of {@link Adagrad}. */
export interface AdagradOptions {
  /** Learning rate. Default 1e-2. */
  lr?: number | undefined
  /** Step t, from 0, takes lr / (1 + t * lrDecay). Default 0. */
  lrDecay?: number | undefined
  /** Added to the gradient, times the parameter. Default 0. */
  weightDecay?: number | undefined
  /** The sums of squared gradients begin with it. Default 0. */
  initialAccumulatorValue?: number | undefined
  /** Added to the denominator. Default 1e-10. */
  eps?: number | undefined
  /** Go up the gradient. Default false. */
  maximize?: boolean | undefined
}

const NAMES = ['lr', 'lrDecay', 'weightDecay', 'initialAccumulatorValue', 'eps', 'maximize']

/** Adagrad (Duchi et al., 2011), as torch.optim.Adagrad. State: sum. */
export class Adagrad extends Optimizer {
  /** @throws RangeError ERR_BPTT_VALUE, TypeError ERR_BPTT_TYPE */
  constructor(parameters: ParametersOrGroups<AdagradOptions>, options: AdagradOptions = {}) {
    super('Adagrad', groupsOf('Adagrad', parameters, options, NAMES, ruleOf))
  }
}

function ruleOf(options: AdagradOptions): Rule {
  const where = 'Adagrad'
  const number = (
    name: 'lr' | 'lrDecay' | 'weightDecay' | 'initialAccumulatorValue' | 'eps',
    preset: number,
  ) => checkNumber(where, name, options[name] ?? preset, 0)
  return {
    hyper: {
      lr: number('lr', 1e-2),
      lrDecay: number('lrDecay', 0),
      weightDecay: number('weightDecay', 0),
      eps: number('eps', 1e-10),
      maximize: checkBoolean(where, 'maximize', options.maximize ?? false),
    },
    states: ['sum', null, null],
    initial: number('initialAccumulatorValue', 0),
  }
}
