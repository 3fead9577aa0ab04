/**
 * What the benchmark (bench/) needs besides the public API, and all that it sees of the inside: `#internals` in
 * package.json. None of it is public. The command line knows nothing of the benchmark but where its command is.
 */

// The native calls beneath the API: pass `ops` times them alone, and two of them measure the CPU's limits.
export { CPU_DEVICE, DTYPE, type Handle, native, type RecurrentCall } from '../binding.ts'
// Which of the results of a recurrent call there are.
export { hasC } from '../cells.ts'
// Reports are written whole or not at all.
export { writeFileAtomic } from '../io/atomic.ts'
// What the native calls of a recurrent layer take as its description.
export { describeStack } from '../ops/recurrent.ts'
// The reference in plain loops that every contender's results are checked against, and its random numbers.
export type { Cell, Weights } from '../reference/cell.ts'
export { gru } from '../reference/gru.ts'
export { lstm } from '../reference/lstm.ts'
export { rnnTanh } from '../reference/rnn.ts'
export { run as runReference } from '../reference/stack.ts'
export { generator } from '../reference/uniform.ts'
export {
  addOuter,
  product,
  transposedProduct,
  type Vector,
  zeros as zeroVector,
} from '../reference/vector.ts'
// The folder of the package: shapes, suites and peers are data in it.
export { root } from '../root.ts'
// What all commands have in common: options, cells, messages, signals.
export { COUNT, device, listOf, numberIn, path, quoted, threadList } from './arguments.ts'
export {
  CELLS,
  type CellName,
  directions,
  outputSize,
  parameterShapes,
  type Stack,
  stackOf,
  takesProjection,
} from './cells.ts'
export { oneLine, visible } from './escape.ts'
export { memoryBytes, showBytes } from './memory.ts'
export { EXIT_FAILURE, exitWith, note, printLine, readingInput, UsageError } from './output.ts'
export { RANGES } from './settings.ts'
export { catchSignals } from './signals.ts'
export { tryWriting } from './trial.ts'
