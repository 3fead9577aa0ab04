/** Averages of a module's weights over training. */
import { native, OPTIMIZER } from '../binding.ts'
import {
  checkFunction,
  checkInteger,
  checkNumber,
  checkOptions,
  checkPlacement,
  checkShapeIs,
  checkSynchronous,
  checkTensorMap,
} from '../check.ts'
import { full } from '../create.ts'
import { type Device, dtypeNumber, type FloatDType } from '../dtype.ts'
import { argumentError, disposedError, namesError, valueError } from '../messages.ts'
import { Module } from '../nn/module.ts'
import { detached } from '../scope.ts'
import { copyAll, copyTo } from '../state.ts'
import type { Tensor } from '../tensor.ts'
import { hyperRow } from './groups.ts'
import { STATES } from './optimizer.ts'

/** Options of {@link AveragedModel}. */
export interface AveragedModelOptions {
  /**
   * How much of the average an update keeps, from 0 to 1: an exponential moving average. Default: all updates weigh
   * the same, as in stochastic weight averaging.
   */
  decay?: number | undefined
}

/** Averages of one dtype on one device, and their count of updates: incremented by the update itself. */
interface Part {
  dtype: FloatDType
  device: Device
  count: Tensor<'float64'>
  members: number[]
}

/** The decay by which the native update knows that all updates weigh the same. */
const ALL_THE_SAME = -1

/**
 * Averages of the parameters of a module, as torch.optim.swa_utils.AveragedModel: the first update copies them, later
 * ones move the averages towards them. Nothing is recorded. Make it when the module is complete and on its device.
 *
 * @example
 * const average = new AveragedModel(model, { decay: 0.999 })
 * // after every optimizer.step():
 * average.update()
 * const loss = average.apply(() => evaluate(model))
 */
export class AveragedModel {
  readonly #sources: readonly Tensor[]
  readonly #names: readonly string[]
  readonly #averages: readonly Tensor[]
  readonly #parts: Part[]
  readonly #decay: number
  #disposed = false

  /**
   * @param module its parameters are averaged, each once; buffers are not
   * @throws RangeError ERR_BPTT_VALUE, TypeError ERR_BPTT_TYPE
   */
  constructor(module: Module<never>, options: AveragedModelOptions = {}) {
    const where = 'AveragedModel'
    const named = parametersOf(where, module)
    const { decay } = checkOptions(where, options, ['decay'])
    this.#decay = decay === undefined ? ALL_THE_SAME : checkNumber(where, 'decay', decay, 0, 1)
    if (named.size === 0) throw valueError(where, 'a module with parameters', [])
    this.#names = [...named.keys()]
    this.#sources = [...named.values()]
    this.#averages = this.#sources.map((source) => copyTo(source, source.device))
    const parts = new Map<string, Part>()
    this.#averages.forEach(({ dtype, device }, i) => {
      const part = parts.get(`${dtype} ${device}`)
      if (part !== undefined) part.members.push(i)
      else {
        const count = newCount(0, device)
        parts.set(`${dtype} ${device}`, { dtype: dtype as FloatDType, device, count, members: [i] })
      }
    })
    this.#parts = [...parts.values()]
  }

  /**
   * Takes the parameters as they are now into the averages, in place. If it throws, nothing has changed. If the
   * computation of a parameter failed, nothing changes on its device.
   *
   * @throws BpttError ERR_BPTT_DISPOSED, ERR_BPTT_DEVICE if the module has moved since
   */
  update(): void {
    const where = 'AveragedModel.update'
    this.#checkLive(where)
    for (const { dtype, device, members } of this.#parts) {
      for (const i of members) {
        this.#source(i)._live(where)
        checkPlacement(where, this.#names[i] as string, this.#source(i), dtype, device)
      }
    }
    const order = this.#parts.flatMap(({ members }) => members)
    const averages = order.map((i) => this.#average(i))
    const row = hyperRow({ lr: 0, alpha: this.#decay })
    native().optimize(
      OPTIMIZER.AveragedModel,
      Float64Array.from(this.#parts.flatMap(() => row)),
      Float64Array.from(this.#parts.flatMap(({ dtype, members }) => [dtypeNumber(dtype), members.length])),
      this.#parts.map(({ count }) => count._handle(where)),
      Float64Array.from(averages, ({ size }) => size),
      averages.map((average) => average._handle(where)),
      order.map((i) => this.#source(i)._handle(where)),
      new Array(STATES * order.length).fill(null),
    )
    for (const average of averages) average._live(where).touch()
  }

  /**
   * Copies the averages into the parameters of a module: another one of the same names and shapes, or that which
   * is averaged. Waits for their values. If it throws, nothing has changed.
   *
   * @throws RangeError ERR_BPTT_VALUE if names differ, ERR_BPTT_SHAPE; TypeError ERR_BPTT_DTYPE
   */
  copyTo(module: Module<never>): void {
    const where = 'AveragedModel.copyTo'
    this.#checkLive(where)
    const targets = parametersOf(where, module)
    const missing = this.#names.filter((name) => !targets.has(name))
    const unexpected = [...targets.keys()].filter((name) => !this.#names.includes(name))
    if (missing.length + unexpected.length > 0) {
      throw namesError(where, 'the parameters of the module that is averaged', missing, unexpected)
    }
    copyAll(
      where,
      this.#names.map((name, i) => {
        const [target, average] = [targets.get(name) as Tensor, this.#average(i)]
        checkPlacement(where, name, target, average.dtype, target.device)
        checkShapeIs(where, name, target, average._shape)
        return [target, average] as const
      }),
    )
  }

  /**
   * Runs `fn` while the module's parameters hold the averages, then puts back what they held, also where `fn`
   * throws. A graph recorded before cannot be used after it, as the weights have changed in place: call backward() first.
   *
   * @param fn a synchronous function; what its ops compute may be read later
   * @returns what `fn` returns
   * @throws TypeError ERR_BPTT_TYPE if `fn` is no function or returns a promise
   */
  apply<T>(fn: () => T): T {
    const where = 'AveragedModel.apply'
    this.#checkLive(where)
    checkFunction(where, fn)
    const before: Tensor[] = []
    try {
      for (const source of this.#sources) before.push(copyTo(source, source.device))
      copyAll(
        where,
        this.#sources.map((source, i) => [source, this.#average(i)] as const),
      )
      try {
        return checkSynchronous(where, fn())
      } finally {
        copyAll(
          where,
          this.#sources.map((source, i) => [source, before[i] as Tensor] as const),
        )
      }
    } finally {
      for (const tensor of before) tensor.dispose()
    }
  }

  /**
   * The averages by name, `module.NAME` as torch has them, and `n_averaged`, how many updates there were: a float64
   * scalar. The tensors share the memory of the averages. Disposing them does not disturb those.
   */
  stateDict(): Map<string, Tensor> {
    this.#checkLive('AveragedModel.stateDict')
    return detached(() => {
      const { count } = this.#parts[0] as Part
      const state = new Map<string, Tensor>([['n_averaged', count._share(count._shape)]])
      this.#averages.forEach((average, i) => {
        state.set(`module.${this.#names[i]}`, average._share(average._shape))
      })
      return state
    })
  }

  /**
   * Copies a state of {@link stateDict}. Waits for its values. If it throws, nothing has changed.
   *
   * @param state it stays yours
   * @throws RangeError ERR_BPTT_VALUE if names are missing or unexpected, or n_averaged is not a whole number of at
   *   least 0; ERR_BPTT_SHAPE
   * @throws TypeError ERR_BPTT_DTYPE
   * @throws BpttError ERR_BPTT_DISPOSED, or the failure of the op that should have computed a value
   */
  loadStateDict(state: ReadonlyMap<string, Tensor> | Readonly<Record<string, Tensor>>): void {
    const where = 'AveragedModel.loadStateDict'
    this.#checkLive(where)
    const given = checkTensorMap(where, state)
    const names = ['n_averaged', ...this.#names.map((name) => `module.${name}`)]
    const missing = names.filter((name) => !given.has(name))
    const unexpected = [...given.keys()].filter((name) => !names.includes(name))
    if (missing.length + unexpected.length > 0) {
      throw namesError(where, 'the state of averages of this module', missing, unexpected)
    }
    const total = given.get('n_averaged') as Tensor
    checkPlacement(where, 'n_averaged', total, 'float64', total.device)
    checkShapeIs(where, 'n_averaged', total, [])
    const pairs = this.#averages.map((average, i): [Tensor, Tensor] => {
      const name = `module.${this.#names[i]}`
      const value = given.get(name) as Tensor
      checkPlacement(where, name, value, average.dtype, value.device)
      checkShapeIs(where, name, value, average._shape)
      return [average, value]
    })
    const updates = checkInteger(where, 'n_averaged', total.itemSync(), 0, Number.MAX_SAFE_INTEGER)
    const counts: Tensor<'float64'>[] = []
    try {
      for (const { device } of this.#parts) counts.push(newCount(updates, device))
      copyAll(where, pairs)
    } catch (error) {
      for (const count of counts) count.dispose()
      throw error
    }
    this.#parts.forEach((part, i) => {
      part.count.dispose()
      part.count = counts[i] as Tensor<'float64'>
    })
  }

  /** Frees the averages; the module stays. */
  dispose(): void {
    if (this.#disposed) return
    this.#disposed = true
    for (const tensor of [...this.#averages, ...this.#parts.map(({ count }) => count)]) tensor.dispose()
  }

  /** As {@link dispose}. */
  [Symbol.dispose](): void {
    this.dispose()
  }

  #source(i: number): Tensor {
    return this.#sources[i] as Tensor
  }

  #average(i: number): Tensor {
    return this.#averages[i] as Tensor
  }

  #checkLive(where: string): void {
    if (this.#disposed) throw disposedError(where)
  }
}

function parametersOf(where: string, module: Module<never>): Map<string, Tensor> {
  if (!(module instanceof Module)) throw argumentError(where, 'a Module', module)
  return new Map(module.namedParameters())
}

function newCount(updates: number, device: Device): Tensor<'float64'> {
  return detached(() => full([], updates, { dtype: 'float64', device }))
}
