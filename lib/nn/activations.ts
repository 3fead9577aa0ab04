/** Functions of tensors as modules, for {@link Sequential}. */
import { checkAxis, checkInteger } from '../check.ts'
import { product } from '../layout.ts'
import { shapeError, shapeText } from '../messages.ts'
import { alias, reshape } from '../ops/shape.ts'
import { logSoftmax, softmax } from '../ops/softmax.ts'
import { unary } from '../ops/unary.ts'
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
