/** Functions of tensors as modules, for {@link Sequential}. */
import { checkAxis, checkInteger, checkNumber } from '../check.ts'
import { product } from '../layout.ts'
import { shapeError, shapeText } from '../messages.ts'
import { alias, reshape } from '../ops/shape.ts'
import { logSoftmax, softmax } from '../ops/softmax.ts'
import {
  checkApproximate,
  checkBend,
  elu,
  type GeluOptions,
  gelu,
  leakyRelu,
  type SoftplusOptions,
  softplus,
  unary,
} from '../ops/unary.ts'
import type { Tensor } from '../tensor.ts'
import { fixFields, Module } from './module.ts'

/** {@link Tensor.tanh} */
export class Tanh extends Module<Tensor, Tensor> {
  /** Any shape. */
  override forward(input: Tensor): Tensor {
    return unary('tanh', input)
  }
}

/** {@link Tensor.sigmoid} */
export class Sigmoid extends Module<Tensor, Tensor> {
  /** Any shape. */
  override forward(input: Tensor): Tensor {
    return unary('sigmoid', input)
  }
}

/** {@link Tensor.relu} */
export class ReLU extends Module<Tensor, Tensor> {
  /** Any shape. */
  override forward(input: Tensor): Tensor {
    return unary('relu', input)
  }
}

/** {@link Tensor.silu} */
export class SiLU extends Module<Tensor, Tensor> {
  /** Any shape. */
  override forward(input: Tensor): Tensor {
    return unary('silu', input)
  }
}

/** {@link Tensor.gelu} */
export class GELU extends Module<Tensor, Tensor> {
  /** How it is computed. */
  readonly approximate: 'none' | 'tanh'

  /** @throws RangeError ERR_BPTT_VALUE, TypeError ERR_BPTT_TYPE */
  constructor(options: GeluOptions = {}) {
    super()
    this.approximate = checkApproximate('GELU', options)
    fixFields(this)
  }

  /** Any shape. */
  override forward(input: Tensor): Tensor {
    return gelu(input, { approximate: this.approximate })
  }
}

/** {@link Tensor.softplus} */
export class Softplus extends Module<Tensor, Tensor> {
  /** How sharp the bend is. */
  readonly beta: number
  /** Where beta times the input is larger, the result is the input. */
  readonly threshold: number

  /** @throws RangeError ERR_BPTT_VALUE, TypeError ERR_BPTT_TYPE */
  constructor(options: SoftplusOptions = {}) {
    super()
    const { beta, threshold } = checkBend('Softplus', options)
    this.beta = beta
    this.threshold = threshold
    fixFields(this)
  }

  /** Any shape. */
  override forward(input: Tensor): Tensor {
    return softplus(input, { beta: this.beta, threshold: this.threshold })
  }
}

/** {@link Tensor.leakyRelu} */
export class LeakyReLU extends Module<Tensor, Tensor> {
  /** Of the part below 0. */
  readonly slope: number

  /**
   * @param slope default 0.01
   * @throws RangeError ERR_BPTT_VALUE, TypeError ERR_BPTT_TYPE
   */
  constructor(slope = 0.01) {
    super()
    this.slope = checkNumber('LeakyReLU', 'slope', slope)
    fixFields(this)
  }

  /** Any shape. */
  override forward(input: Tensor): Tensor {
    return leakyRelu(input, this.slope)
  }
}

/** {@link Tensor.elu} */
export class ELU extends Module<Tensor, Tensor> {
  /** Minus what it approaches far below 0. */
  readonly alpha: number

  /**
   * @param alpha default 1
   * @throws RangeError ERR_BPTT_VALUE, TypeError ERR_BPTT_TYPE
   */
  constructor(alpha = 1) {
    super()
    this.alpha = checkNumber('ELU', 'alpha', alpha)
    fixFields(this)
  }

  /** Any shape. */
  override forward(input: Tensor): Tensor {
    return elu(input, this.alpha)
  }
}

/** {@link softmax} along an axis. */
export class Softmax extends Module<Tensor, Tensor> {
  /** May be negative. */
  readonly axis: number

  /**
   * @param axis default -1, the last
   * @throws RangeError ERR_BPTT_VALUE, TypeError ERR_BPTT_TYPE
   */
  constructor(axis = -1) {
    super()
    this.axis = checkModuleAxis('Softmax', 'axis', axis)
    fixFields(this)
  }

  /** Any shape that has the axis. */
  override forward(input: Tensor): Tensor {
    return softmax(input, this.axis)
  }
}

/** {@link logSoftmax} along an axis. */
export class LogSoftmax extends Module<Tensor, Tensor> {
  /** May be negative. */
  readonly axis: number

  /**
   * @param axis default -1, the last
   * @throws RangeError ERR_BPTT_VALUE, TypeError ERR_BPTT_TYPE
   */
  constructor(axis = -1) {
    super()
    this.axis = checkModuleAxis('LogSoftmax', 'axis', axis)
    fixFields(this)
  }

  /** Any shape that has the axis. */
  override forward(input: Tensor): Tensor {
    return logSoftmax(input, this.axis)
  }
}

/** Gives what it is given. */
export class Identity extends Module<Tensor, Tensor> {
  /** A tensor that shares the input's memory. */
  override forward(input: Tensor): Tensor {
    return alias(input)
  }
}

/** Makes one axis of several that follow each other: [B,C,T] -> [B, C * T]. */
export class Flatten extends Module<Tensor, Tensor> {
  /** The first of them. */
  readonly startAxis: number
  /** The last of them. */
  readonly endAxis: number

  /**
   * @param startAxis default 1
   * @param endAxis default -1, the last
   * @throws RangeError ERR_BPTT_VALUE, TypeError ERR_BPTT_TYPE
   */
  constructor(startAxis = 1, endAxis = -1) {
    super()
    this.startAxis = checkModuleAxis('Flatten', 'startAxis', startAxis)
    this.endAxis = checkModuleAxis('Flatten', 'endAxis', endAxis)
    fixFields(this)
  }

  /** A tensor that shares the input's memory. */
  override forward(input: Tensor): Tensor {
    const where = 'Flatten.forward'
    const { shape } = input
    const start = checkAxis(where, this.startAxis, shape.length)
    const end = checkAxis(where, this.endAxis, shape.length)
    if (start > end)
      throw shapeError(where, `an axis ${this.startAxis} before axis ${this.endAxis}`, shapeText(shape))
    return reshape(input, [...shape.slice(0, start), product(shape, start, end + 1), ...shape.slice(end + 1)])
  }
}

function checkModuleAxis(where: string, name: string, axis: number): number {
  return checkInteger(where, name, axis, -8, 7)
}
