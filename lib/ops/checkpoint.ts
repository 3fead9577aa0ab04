/** Checkpointing: less memory for more computation. */
import { needsGrad, newest, record, view } from '../autograd.ts'
import { again, leavesOf } from '../backward.ts'
import { isTensor } from '../brand.ts'
import { checkFunction, checkSynchronous, checkTensor } from '../check.ts'
import { graphError } from '../messages.ts'
import { getRandomState, setRandomState } from '../random.ts'
import { openScope } from '../scope.ts'
import type { Tensor } from '../tensor.ts'
import { checkOutputs } from './custom.ts'

/**
 * `fn(...inputs)`, of which the tape keeps the inputs alone: backward runs `fn` once more, with the same random
 * numbers, and what it saves lives only as long as that takes. Long sequences cut into such parts train in
 * the memory of one part.
 *
 * Parameters of modules that `fn` uses get their gradients; a tensor that was computed outside must be an input.
 *
 * @param fn a synchronous function of tensors, to a tensor or an array of tensors; it is called again in backward
 * and must do the same then
 * @returns what `fn` returns
 * @throws TypeError ERR_BPTT_TYPE if `fn` returns anything else, BpttError ERR_BPTT_GRAPH if it uses the result of
 * an op on the tape that is no input
 *
 * @example
 * const { output } = first.forward(x)
 * const y = checkpoint((x) => second.forward(x).output, output)
 */
export function checkpoint<I extends readonly Tensor[], O extends Tensor | readonly Tensor[]>(
  fn: (...inputs: I) => O,
  ...inputs: I
): O {
  const where = 'checkpoint'
  checkFunction(where, fn)
  for (const [i, input] of inputs.entries()) checkTensor(where, `input ${i}`, input)
  let single = false
  const run = (given: readonly (Tensor | null)[]): readonly Tensor[] => {
    const outputs: unknown = checkSynchronous(where, fn(...(given as unknown as I)))
    single = isTensor(outputs)
    return checkOutputs(where, single ? [outputs] : outputs)
  }
  const state = getRandomState()
  const created: Tensor[] = []
  const outer = openScope(created)
  let results: Tensor[]
  try {
    const since = newest() // what is older was made outside
    const own = inputs.map((input) => view(input, input._shape))
    const outputs = run(own)
    openScope(outer)
    results = outputs.map((output) => output.detach())
    if (outputs.some(needsGrad)) {
      const leaves = leavesOf(outputs, own, since)
      if (leaves === null) {
        for (const result of results) result.dispose()
        throw graphError(
          where,
          'expected a function whose tensors on the tape are its inputs or leaves, got one that uses ' +
            'the result of an op from outside; make it an input, or detach() it',
        )
      }
      const sources = [...inputs, ...leaves]
      record(where, sources, results, sources, (_, node, gradients) => {
        const now = getRandomState()
        setRandomState(state)
        try {
          const own = inputs.map((_, i) => node.tensor(i))
          return again(node, own, [...leaves], [...gradients], run)
        } finally {
          setRandomState(now)
        }
      })
    }
  } finally {
    openScope(outer)
    for (const one of created) one.dispose()
  }
  return (single ? results[0] : results) as unknown as O
}
