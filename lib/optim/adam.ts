/** Adam and its variants: running means of the gradient and of its square; a step is the one over the root of the other. */
import { checkBoolean, checkNumber } from '../check.ts'
import { checkBetas, groupsOf, type ParametersOrGroups, type Rule } from './groups.ts'
import { Optimizer } from './optimizer.ts'

interface CommonOptions {
  /** Learning rate. Default 1e-3, of NAdam 2e-3. */
  lr?: number | undefined
  /** Decay of the means of the gradient and of its square. Default [0.9, 0.999]. */
  betas?: readonly [number, number] | undefined
  /** Added to the denominator. Default 1e-8. */
  eps?: number | undefined
  /** Go up the gradient. Default false. */
  maximize?: boolean | undefined
}

/** Options of {@link Adam} and {@link AdamW}. */
export interface AdamOptions extends CommonOptions {
  /** Adam: added to the gradient, times the parameter; default 0. AdamW: decoupled; default 0.01. */
  weightDecay?: number | undefined
  /** Divide by the largest mean square so far (Reddi et al., 2018). Default false. */
  amsgrad?: boolean | undefined
}

/** Options of {@link RAdam}. */
export interface RAdamOptions extends CommonOptions {
  /** Added to the gradient, times the parameter. Default 0. */
  weightDecay?: number | undefined
  /** Whether weightDecay shrinks the parameter instead, as in {@link AdamW}. Default false. */
  decoupledWeightDecay?: boolean | undefined
}

/** Options of {@link NAdam}. */
export interface NAdamOptions extends RAdamOptions {
  /** How fast the momentum grows to the first of betas. Default 4e-3. */
  momentumDecay?: number | undefined
}

/** torch's, and Dozat's: the momentum of step t is beta1 * (1 - 0.5 * 0.96^(t * momentumDecay)). */
const MOMENTUM_DECAY = 0.96

const COMMON = ['lr', 'betas', 'eps', 'weightDecay', 'maximize']

/** Adam (Kingma and Ba, 2015), as torch.optim.Adam. State: exp_avg, exp_avg_sq, max_exp_avg_sq (amsgrad). */
export class Adam extends Optimizer {
  /** @throws RangeError ERR_BPTT_VALUE, TypeError ERR_BPTT_TYPE */
  constructor(parameters: ParametersOrGroups<AdamOptions>, options: AdamOptions = {}) {
    super(
      'Adam',
      groupsOf('Adam', parameters, options, [...COMMON, 'amsgrad'], (o) => ruleOf('Adam', o)),
    )
  }
}

/** Adam with decoupled weight decay (Loshchilov and Hutter, 2019), as torch.optim.AdamW. State as {@link Adam}. */
export class AdamW extends Optimizer {
  /** @throws RangeError ERR_BPTT_VALUE, TypeError ERR_BPTT_TYPE */
  constructor(parameters: ParametersOrGroups<AdamOptions>, options: AdamOptions = {}) {
    const preset = { weightDecay: 0.01 }
    super(
      'AdamW',
      groupsOf('AdamW', parameters, options, [...COMMON, 'amsgrad'], (o) => ruleOf('AdamW', o, preset)),
    )
  }
}

/**
 * Adam with Nesterov's momentum (Dozat, 2016), as torch.optim.NAdam. State: exp_avg, exp_avg_sq. torch's mu_product, the
 * product of the momenta so far, is no state: it is computed from the number of steps and the betas as they are now.
 */
export class NAdam extends Optimizer {
  /** @throws RangeError ERR_BPTT_VALUE, TypeError ERR_BPTT_TYPE */
  constructor(parameters: ParametersOrGroups<NAdamOptions>, options: NAdamOptions = {}) {
    const names = [...COMMON, 'decoupledWeightDecay', 'momentumDecay']
    super(
      'NAdam',
      groupsOf('NAdam', parameters, options, names, (o) => ruleOf('NAdam', o, { lr: 2e-3 })),
    )
  }
}

/**
 * Adam whose steps are smaller while its mean square is one of few gradients (Liu et al., 2020), as torch.optim.RAdam.
 * State as {@link NAdam}.
 */
export class RAdam extends Optimizer {
  /** @throws RangeError ERR_BPTT_VALUE, TypeError ERR_BPTT_TYPE */
  constructor(parameters: ParametersOrGroups<RAdamOptions>, options: RAdamOptions = {}) {
    const names = [...COMMON, 'decoupledWeightDecay']
    super(
      'RAdam',
      groupsOf('RAdam', parameters, options, names, (o) => ruleOf('RAdam', o)),
    )
  }
}

function ruleOf(
  where: string,
  options: AdamOptions & NAdamOptions,
  { lr = 1e-3, weightDecay = 0 }: { lr?: number; weightDecay?: number } = {},
): Rule {
  const amsgrad = checkBoolean(where, 'amsgrad', options.amsgrad ?? false)
  return {
    hyper: {
      lr: checkNumber(where, 'lr', options.lr ?? lr, 0),
      betas: checkBetas(where, options.betas ?? [0.9, 0.999]),
      eps: checkNumber(where, 'eps', options.eps ?? 1e-8, 0),
      weightDecay: checkNumber(where, 'weightDecay', options.weightDecay ?? weightDecay, 0),
      amsgrad,
      maximize: checkBoolean(where, 'maximize', options.maximize ?? false),
      decoupled: checkBoolean(where, 'decoupledWeightDecay', options.decoupledWeightDecay ?? false),
      muDecay: MOMENTUM_DECAY ** checkNumber(where, 'momentumDecay', options.momentumDecay ?? 4e-3, 0),
    },
    states: ['exp_avg', 'exp_avg_sq', amsgrad ? 'max_exp_avg_sq' : null],
  }
}
