/**
 * What the benchmark (bench/) needs besides the public API, and all that it sees of the inside: `#internals` in
 * package.json. None of it is public. The command line knows nothing of the benchmark but where its command is.
 */

// The native calls beneath the API, which pass `ops` times by themselves and the machine's limits are measured by.
export { CPU_DEVICE, DTYPE, type Handle, native } from '../binding.ts'
// Files: where the package lies, and how reports are written.
export { writeFileAtomic } from '../io/atomic.ts'
export { describeStack } from '../ops/recurrent.ts'
// The reference in plain loops that every contender's results are checked against, and its random numbers.
export type { Weights } from '../reference/cell.ts'
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
export { root } from '../root.ts'
// What all commands have in common: cells, options, messages, signals.
export { COUNT, device, listOf, numberIn, path, quoted, threadList } from './arguments.ts'
export { CELLS, type CellName, directions, outputSize, parameterShapes, type Stack } from './cells.ts'
export { oneLine, visible } from './escape.ts'
export { memoryBytes, showBytes } from './memory.ts'
export { EXIT_FAILURE, exitWith, note, printLine, readingInput, UsageError } from './output.ts'
export { RANGES } from './settings.ts'
export { catchSignals } from './signals.ts'
export { tryWriting } from './trial.ts'
