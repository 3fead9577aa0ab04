import { isTensor } from '../brand.ts'
import { checkSynchronous } from '../check.ts'
import type { FloatDType } from '../dtype.ts'
import { argumentError } from '../messages.ts'
import type { Tensor } from '../tensor.ts'
import { Module } from './module.ts'

/**
 * Modules one after the other, each given the output of the one before (of a recurrent layer its `output`). The names in
 * the state dict start with the position: '0.weight_ih_l0', '1.weight', ..
 */
export class Sequential<D extends FloatDType = 'float32'> extends Module<Tensor, Tensor<D>> {
  /** How many modules. */
  readonly length: number

  /**
   * @param modules called in this order
   * @throws TypeError ERR_BPTT_TYPE if one is no module
   */
  constructor(...modules: Module<Tensor>[]) {
    super()
    this.length = modules.length
    modules.forEach((module, i) => {
      if (!(module instanceof Module))
        throw argumentError('Sequential', `argument ${i} to be a Module`, module)
      Object.defineProperty(this, String(i), { value: module, enumerable: true })
    })
  }

  /** The output of the last module; of none, the input. */
  override forward(input: Tensor): Tensor<D> {
    let value = input
    for (const [name, module] of this.namedChildren()) {
      const result = checkSynchronous(
        'Sequential.forward',
        (module as unknown as Module<Tensor>).forward(value),
      )
      const next = isTensor(result) ? result : (result as { output?: unknown } | null)?.output
      if (!isTensor(next)) {
        throw argumentError(
          'Sequential.forward',
          `module ${name} to return a tensor, or an object with a tensor named output`,
          result,
        )
      }
      value = next
    }
    return value as Tensor<D>
  }
}
