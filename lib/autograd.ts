/**
 * The tape. An op whose input requires grad records a node: the nodes (or leaf
 * tensors) of its inputs, what it saved, and a function from the gradients of
 * its outputs to those of its inputs. backward.ts walks it.
 *
 * Nodes are counted, by their live outputs and by the nodes that lead to them,
 * so that disposing the result of a forward pass frees all it saved at once.
 */
import { watchForward } from './anomaly.ts'
import type { Handle } from './binding.ts'
import { type DType, isFloat } from './dtype.ts'
import { isRecording, track } from './scope.ts'
import { Storage } from './storage.ts'
import { Tensor } from './tensor.ts'

/**
 * Gradients of the inputs from those of the outputs. `dy` is the first
 * output's; an op of several outputs reads `gradients`, where null stands for
 * zeros. Returns one tensor per input, null where node.wants(i) is false.
 *
 * It need not dispose of anything: the tape disposes all that it makes and does not return.
 *
 * With createGraph its own ops are recorded (isRecording() tells). Every step from `dy` and
 * node.tensor(i) to the result must then be an op of the tape; a backward kernel, whose result
 * has no graph, may be used only otherwise.
 */
export type Backward = (dy: Tensor, node: Node, gradients: readonly (Tensor | null)[]) => (Tensor | null)[]

/** What backward reads: a tensor, or memory that no tensor stands for, such as a layer's reserve. */
export type Saved = Tensor | Storage | null

/** Number of the newest node. */
let sequence = 0

export function newest(): number {
  return sequence
}

export class Node {
  readonly op: string
  /** Creation order: every parent's is smaller than its child's. */
  readonly sequence = ++sequence
  /** Per input: the node that made it, a leaf, or null where no gradient is wanted. */
  parents: readonly (Node | Tensor | null)[]
  /** Per input: which output of its node it is. */
  slots: readonly number[]
  /** null once consumed: what it saved is freed, and it cannot be walked again. */
  backward: Backward | null
  /** When it was consumed, as the number of the newest node then. */
  consumed = 0
  /** What was saved, retained, and the version of each at that time: another one means a change since. */
  storages: readonly (Storage | null)[]
  versions: readonly number[]
  #saved: readonly Saved[]
  /** Live outputs, and nodes that have this one as a parent. */
  references = 0
  readonly outputs: number
  /** In anomaly mode: where the op was called. */
  trace: string | undefined
  /** During backward: sums of the gradients of the outputs that arrived so far. */
  gradients: (Tensor | null)[] | null = null
  /** During backward: whether the graph must survive it. */
  retained = false
  /** During grad(): whether parents[i] leads to one of its inputs. */
  routes: readonly boolean[] | null = null
  /** While the nodes of a walk are collected: already found. */
  visited = false

  constructor(
    op: string,
    inputs: readonly (Tensor | null)[],
    outputs: number,
    saved: readonly Saved[],
    backward: Backward,
  ) {
    this.op = op
    this.outputs = outputs
    this.backward = backward
    const parents: (Node | Tensor | null)[] = []
    const slots: number[] = []
    for (const input of inputs) {
      if (input === null || !input.requiresGrad) {
        parents.push(null)
        slots.push(0)
      } else if (input._node === null) {
        parents.push(input)
        slots.push(0)
      } else {
        input._node.references++
        parents.push(input._node)
        slots.push(input._slot)
      }
    }
    this.parents = parents
    this.slots = slots
    const storages: (Storage | null)[] = []
    const versions: number[] = []
    for (const one of saved) {
      const storage = one === null || one instanceof Storage ? one : one._live(op)
      storages.push(storage)
      versions.push(storage === null ? 0 : storage.retain().version)
    }
    this.storages = storages
    this.versions = versions
    this.#saved = saved
  }

  /** Whether input i needs a gradient. */
  wants(i: number): boolean {
    return this.parents[i] !== null && this.routes?.[i] !== false
  }

  saved(i: number): Handle {
    return (this.storages[i] as Storage).handle
  }

  savedOrNull(i: number): Handle | null {
    return this.storages[i]?.handle ?? null
  }

  /** Saved tensor i (an input or output of the op, or a constant), with its place in the graph, also if it was disposed since. */
  tensor(i: number): Tensor {
    const saved = this.#saved[i] as Tensor
    const storage = this.storages[i] as Storage
    if (!saved.disposed && saved._live(this.op) === storage) return saved
    const again = new Tensor(storage.retain(), saved._shape, saved.dtype, saved.device)
    track(again)
    if (saved._node !== null && isRecording()) again._setNode(saved._node, saved._slot)
    return again
  }

  /** The same, or null where null was saved. */
  tensorOrNull(i: number): Tensor | null {
    return this.#saved[i] ? this.tensor(i) : null
  }

  /** Drops one holder; the last one frees what was saved, and so on down the graph. */
  release(): void {
    if (--this.references === 0 && this.backward !== null) this.consume()
  }

  /** Frees what was saved and lets go of the parents. Iterative: graphs may be very deep. */
  consume(): void {
    const doomed: Node[] = [this]
    for (let node = doomed.pop(); node !== undefined; node = doomed.pop()) {
      for (const storage of node.storages) storage?.release()
      for (const parent of node.parents) {
        if (parent instanceof Node && --parent.references === 0 && parent.backward !== null) {
          doomed.push(parent)
        }
      }
      node.backward = null
      node.consumed = sequence
      node.storages = []
      node.#saved = []
      node.parents = []
    }
  }
}

/** Whether an op with this input must be recorded. */
export function needsGrad(x: Tensor | null): boolean {
  return x?.requiresGrad === true && isRecording()
}

/**
 * Records an op. To be called only when needsGrad() of some input.
 *
 * @param outputs those of an integer type stay off the tape
 * @param saved what backward reads; each is retained, and checked for changes
 */
export function record(
  op: string,
  inputs: readonly (Tensor | null)[],
  outputs: readonly Tensor[],
  saved: readonly Saved[],
  backward: Backward,
): void {
  const node = new Node(op, inputs, outputs.length, saved, backward)
  for (let i = 0; i < outputs.length; i++) {
    const output = outputs[i] as Tensor
    if (isFloat(output.dtype)) output._setNode(node, i)
  }
  watchForward(node, outputs)
}

/** The elements of `x` (shared, not copied) in a shape of the same size. */
export function view<D extends DType>(x: Tensor<D>, shape: readonly number[], op = 'reshape'): Tensor<D> {
  const y = x._share(shape)
  if (needsGrad(x)) {
    const before = x._shape
    record(op, [x], [y], [], (dy) => [view(dy, before)])
  }
  return y
}
