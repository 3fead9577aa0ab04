/**
 * The tape. An op whose input requires grad records a node: the nodes (or leaf
 * tensors) of its inputs, what it saved, and a function from the gradients of
 * its outputs to those of its inputs.
 *
 * Nodes are counted, by their live outputs and by the nodes that lead to them,
 * so that disposing the result of a forward pass frees all it saved at once.
 */
import { BINARY, type Handle, native } from './binding.ts'
import { isTensor } from './brand.ts'
import {
  checkBackward,
  checkBoolean,
  checkOptions,
  checkPlacement,
  checkShapeIs,
  checkTensor,
} from './check.ts'
import { dtypeNumber } from './dtype.ts'
import { denseLayout } from './layout.ts'
import {
  disposedError,
  foreignError,
  graphlessError,
  modifiedError,
  shapeError,
  shapeText,
  usedError,
} from './messages.ts'
import { detached, isRecording } from './scope.ts'
import { copyElements } from './state.ts'
import type { Storage } from './storage.ts'
import { result, type Tensor } from './tensor.ts'

/**
 * Gradients of the inputs from those of the outputs. `dy` is the first
 * output's; an op of several outputs reads `gradients`, where null stands for
 * zeros. Returns one new tensor per input, null where node.wants(i) is false.
 * The arguments stay the caller's; node.saved(i) is valid during the call.
 */
export type Backward = (dy: Tensor, node: Node, gradients: readonly (Tensor | null)[]) => (Tensor | null)[]

let sequence = 0
/** How many backward() there were. */
let backwards = 0

export class Node {
  readonly op: string
  /** Creation order: every parent's is smaller than its child's. */
  readonly sequence = ++sequence
  /** Per input: the node that made it, a leaf, or null where no gradient is wanted. */
  parents: readonly (Node | Tensor | null)[]
  /** Per input: which output of its node it is. */
  slots: readonly number[]
  /** null once consumed. */
  backward: Backward | null
  /** The newest node at that time. */
  consumed = 0
  storages: readonly (Storage | null)[]
  versions: readonly number[]
  references = 0
  readonly outputs: number
  /** During backward: sums of the gradients of the outputs that arrived so far. */
  gradients: (Tensor | null)[] | null = null
  /** During backward: whether the graph must survive it. */
  retained = false
  /** During the walk: already collected. */
  visited = false

  constructor(
    op: string,
    inputs: readonly (Tensor | null)[],
    outputs: number,
    storages: readonly (Storage | null)[],
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
    const versions: number[] = []
    for (const storage of storages) versions.push(storage === null ? 0 : storage.retain().version)
    this.storages = storages
    this.versions = versions
  }

  /** Whether input i needs a gradient. */
  wants(i: number): boolean {
    return this.parents[i] !== null
  }

  saved(i: number): Handle {
    return (this.storages[i] as Storage).handle
  }

  savedOrNull(i: number): Handle | null {
    return this.storages[i]?.handle ?? null
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
 * @param saved storages that backward reads; each is retained, and checked for changes
 */
export function record(
  op: string,
  inputs: readonly (Tensor | null)[],
  outputs: readonly Tensor[],
  saved: readonly (Storage | null)[],
  backward: Backward,
): void {
  const node = new Node(op, inputs, outputs.length, saved, backward)
  for (let i = 0; i < outputs.length; i++) (outputs[i] as Tensor)._setNode(node, i)
}

/** {@link TensorMethods.backward}. */
export function runBackward(
  root: Tensor,
  gradient: Tensor | null = null,
  options: { retainGraph?: boolean | undefined } = {},
): void {
  const where = 'backward'
  checkBackward(gradient, options)
  const { retainGraph = false } = checkOptions(where, options, ['retainGraph'])
  checkBoolean(where, 'retainGraph', retainGraph)
  if (!isTensor(root)) throw foreignError('Tensor', root)
  if (root.disposed) throw disposedError(where)
  if (!root.requiresGrad) {
    throw graphlessError(root._isGradient)
  }
  if (gradient === null) {
    if (root.size !== 1) {
      throw shapeError(
        where,
        'a tensor with one element when no gradient is given',
        shapeText(root._shape),
        'reduce it with sum() or mean(), or pass a gradient of that shape',
      )
    }
  } else {
    checkTensor(where, 'gradient', gradient)
    checkPlacement(where, 'gradient', gradient, root.dtype, root.device)
    checkShapeIs(where, 'gradient', gradient, root._shape)
    if (gradient.disposed) throw disposedError(where)
  }
  const start = root._node
  const order = start === null ? [] : collect(start)
  detached(() => {
    const seed = gradient === null ? ones(root) : gradient._share(gradient._shape)
    const leaves = new Map<Tensor, Tensor>()
    if (start === null) leaves.set(root, seed)
    else arrive(start, root._slot, seed)
    walk(order, leaves, retainGraph)
  })
}

/** Every node that leads to `start`, last made first, checked before anything runs. */
function collect(start: Node): Node[] {
  const order: Node[] = []
  const stack: Node[] = [start]
  start.visited = true
  let failure: Error | null = null
  for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
    order.push(node)
    failure ??= check(node, start)
    for (const parent of node.parents) {
      if (parent instanceof Node && !parent.visited) {
        parent.visited = true
        stack.push(parent)
      }
    }
  }
  for (const node of order) node.visited = false
  if (failure !== null) throw failure
  return order.sort((a, b) => b.sequence - a.sequence)
}

function check(node: Node, start: Node): Error | null {
  if (node.backward === null) {
    return usedError(node.op, start.sequence > node.consumed)
  }
  const { storages, versions } = node
  for (let i = 0; i < storages.length; i++) {
    const storage = storages[i]
    if (storage && storage.version !== versions[i]) return modifiedError(node.op)
  }
  return null
}

function walk(order: readonly Node[], leaves: Map<Tensor, Tensor>, retainGraph: boolean): void {
  backwards++
  // A node in the list outlives its children's release of it.
  for (const node of order) {
    node.references++
    node.retained = retainGraph
  }
  try {
    for (const node of order) step(node, leaves)
    for (const [leaf, gradient] of leaves) {
      leaves.delete(leaf)
      deliver(leaf, gradient)
    }
  } finally {
    for (const gradient of leaves.values()) gradient.dispose()
    for (const node of order) {
      clear(node)
      node.release()
    }
  }
}

function step(node: Node, leaves: Map<Tensor, Tensor>): void {
  const { gradients, parents, slots } = node
  if (gradients !== null) {
    const results = (node.backward as Backward)(gradients[0] as Tensor, node, gradients)
    clear(node)
    for (let i = 0; i < parents.length; i++) {
      const dx = results[i] ?? null
      const parent = parents[i] ?? null
      if (dx === null) continue
      if (parent === null) dx.dispose()
      else if (parent instanceof Node) arrive(parent, slots[i] as number, dx)
      else leaves.set(parent, merge(leaves.get(parent) ?? null, dx))
    }
  }
  if (!node.retained) node.consume()
}

/** A gradient, owned by the caller, reaches an output of a node. */
function arrive(node: Node, slot: number, gradient: Tensor): void {
  if (node.gradients === null) {
    node.gradients = []
    for (let i = 0; i < node.outputs; i++) node.gradients.push(null)
  }
  node.gradients[slot] = merge(node.gradients[slot] ?? null, gradient)
}

function merge(sum: Tensor | null, gradient: Tensor): Tensor {
  return sum === null ? gradient : accumulate(sum, gradient, sum._live('backward').references === 1)
}

function clear(node: Node): void {
  const { gradients } = node
  if (gradients === null) return
  node.gradients = null
  for (const gradient of gradients) gradient?.dispose()
}

/** Adds to leaf.grad in place. What becomes leaf.grad owns its storage alone. */
function deliver(leaf: Tensor, gradient: Tensor): void {
  if (leaf.disposed) {
    gradient.dispose()
    return
  }
  const before = leaf.grad
  leaf._onGradient(backwards)
  leaf._setGrad(before === null ? ownStorage(gradient) : accumulate(before, gradient, true))
}

// -- gradients: seeds, sums and copies ----------------------------------------------

/** Ones, shaped like `x`. */
function ones(x: Tensor): Tensor {
  const out = result(x._shape, x.dtype, x.device)
  native().fill(dtypeNumber(x.dtype), x.size, 1, out._handle('backward'))
  return out
}

/** sum + gradient, written over `sum` if `inPlace`. Consumes both. */
function accumulate(sum: Tensor, gradient: Tensor, inPlace: boolean): Tensor {
  const storage = sum._live('backward')
  const out = inPlace ? sum : result(sum._shape, sum.dtype, sum.device)
  native().binary(
    dtypeNumber(sum.dtype),
    BINARY.add,
    denseLayout(sum.size),
    storage.handle,
    gradient._handle('backward'),
    out._handle('backward'),
  )
  if (inPlace) storage.touch()
  else sum.dispose()
  gradient.dispose()
  return out
}

/** `gradient` itself if nothing else holds its storage, else a copy. Consumes it. */
function ownStorage(gradient: Tensor): Tensor {
  if (gradient._live('backward').references === 1) return gradient
  const out = result(gradient._shape, gradient.dtype, gradient.device)
  copyElements(gradient, 0, out, 0, gradient.size)
  gradient.dispose()
  return out
}
