/** backward() and grad(): walks over the tape, from results to what they were computed from. */
import { watchBackward } from './anomaly.ts'
import { type Backward, Node, needsGrad, newest, record, view } from './autograd.ts'
import { BINARY, native } from './binding.ts'
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
  argumentError,
  disposedError,
  foreignError,
  graphlessError,
  modifiedError,
  shapeError,
  shapeText,
  unusedError,
  usedError,
} from './messages.ts'
import { detached, isRecording, openScope, recorded, track } from './scope.ts'
import { copyElements, fill } from './state.ts'
import { result, resultLike, type Tensor } from './tensor.ts'

/** Options of {@link Tensor.backward}. */
export interface BackwardOptions {
  /** Keep the graph, so that backward can run again. Default: createGraph. */
  retainGraph?: boolean | undefined
  /** Record the gradients, so that they can be differentiated in turn. Default false. */
  createGraph?: boolean | undefined
}

/** Options of {@link grad}. */
export interface GradOptions extends BackwardOptions {
  /** One per output, of its shape; 1 where omitted or null, for outputs of one element. */
  gradOutputs?: Tensor | null | readonly (Tensor | null)[] | undefined
  /** Give null for inputs that no output was computed from, where grad() would throw. Default false. */
  allowUnused?: boolean | undefined
}

/** How many backward() there were: tells parameters of one from those of another. */
let backwards = 0

/** Where gradients arrive: a leaf, whose slot is 0, or a node, which has one per output. */
type Place = Tensor | Node
type Gradients = (Tensor | null)[]

/** {@link TensorMethods.backward}. */
export function runBackward(
  root: Tensor,
  gradient: Tensor | null = null,
  options: BackwardOptions = {},
): void {
  const where = 'backward'
  checkBackward(gradient)
  const modes = checkModes(where, checkOptions(where, options, ['retainGraph', 'createGraph']))
  checkRoot(where, root)
  checkSeed(where, root, gradient)
  const place = placeOf(root)
  const order = place instanceof Node ? collect(where, [place], 0) : []
  backwards++
  detached(() => {
    for (const [leaf, [dx]] of walk(order, null, modes.retainGraph, [[root, gradient]])) {
      deliver(leaf as Tensor, dx as Tensor)
    }
  }, modes.createGraph)
}

/**
 * The gradients of `outputs`, summed, with respect to `inputs`: leaves or results of ops. No
 * {@link Tensor.grad} is read or written, and only what leads to the inputs is computed.
 *
 * @param outputs tensors that require grad
 * @param inputs tensors that require grad
 * @returns one gradient per input, of its shape; null, with `allowUnused`, where there is none
 * @throws BpttError ERR_BPTT_GRAPH if an output does not require grad, an input was not used, or the graph was
 * already used; ERR_BPTT_MODIFIED as backward(); RangeError ERR_BPTT_SHAPE if a gradOutput does not fit
 *
 * @example
 * // A gradient penalty, as of WGAN-GP.
 * const [dx] = grad(critic(x).sum(), [x], { createGraph: true })
 * const penalty = dx.mul(dx).sum(1).sqrt().sub(1)
 */
export function grad<T extends readonly Tensor[]>(
  outputs: Tensor | readonly Tensor[],
  inputs: readonly [...T],
  options: GradOptions & { allowUnused: true },
): { [K in keyof T]: T[K] | null }
export function grad<T extends readonly Tensor[]>(
  outputs: Tensor | readonly Tensor[],
  inputs: readonly [...T],
  options?: GradOptions,
): { [K in keyof T]: T[K] }
export function grad(
  outputs: Tensor | readonly Tensor[],
  inputs: readonly Tensor[],
  options: GradOptions = {},
): (Tensor | null)[] {
  const where = 'grad'
  options = checkOptions(where, options, ['retainGraph', 'createGraph', 'gradOutputs', 'allowUnused'])
  const modes = checkModes(where, options)
  const allowUnused = checkBoolean(where, 'allowUnused', options.allowUnused ?? false)
  const roots = checkTensors(where, 'output', isTensor(outputs) ? [outputs] : outputs)
  const wanted = checkTensors(where, 'input', inputs)
  const seeds = checkSeeds(where, roots, options.gradOutputs ?? null)
  for (const [i, root] of roots.entries()) {
    checkRoot(where, root)
    checkSeed(where, root, seeds[i] ?? null)
  }
  for (const input of wanted) checkRoot(where, input)
  const found = gradients(where, roots, wanted, seeds, modes, 0)
  const missing = found.indexOf(null)
  if (missing >= 0 && !allowUnused) {
    for (const dx of found) dx?.dispose()
    throw unusedError(where, missing)
  }
  return found
}

/**
 * For a backward that has a kernel of its own and must be recorded: the gradients of `forward`, the same function
 * made of ops of the tape, one per input of the node.
 */
export function unfolded(
  node: Node,
  inputs: readonly (Tensor | null)[],
  seeds: readonly (Tensor | null)[],
  forward: (inputs: Gradients) => readonly Tensor[],
): Gradients {
  return again(node, inputs, [], seeds, forward).map((dx, i) => {
    const input = inputs[i] ?? null
    return dx ?? (input !== null && node.wants(i) ? filled(input, 0) : null)
  })
}

/**
 * Runs `forward` on the inputs once more, recorded, and gives its gradients: those of the inputs, then those of
 * `leaves`, which it reaches by itself; in the order of the node's inputs. The gradients are recorded where the
 * backward that runs is (createGraph).
 *
 * @param seeds the gradients of the outputs; null where none arrived
 */
export function again(
  node: Node,
  inputs: readonly (Tensor | null)[],
  leaves: readonly Tensor[],
  seeds: readonly (Tensor | null)[],
  forward: (inputs: Gradients) => readonly Tensor[],
): Gradients {
  const first = newest()
  const createGraph = isRecording()
  const [own, outputs] = recorded(() => {
    const views = inputs.map((input, i) => {
      if (input === null) return null
      const own = view(input, input._shape)
      if (node.wants(i) && !own.requiresGrad) own._setLeaf(true)
      return own
    })
    return [views, forward(views)] as const
  })
  const all = [...own, ...leaves]
  const wanted = all.filter((input, i): input is Tensor => input !== null && node.wants(i))
  const roots = outputs.filter((output, i) => seeds[i] && output.requiresGrad)
  const given = seeds.filter((seed, i) => seed && (outputs[i] as Tensor).requiresGrad)
  const modes = { retainGraph: createGraph, createGraph }
  const found = gradients(node.op, roots, wanted, given, modes, first)
  return all.map((input) => (input === null ? null : (found[wanted.indexOf(input)] ?? null)))
}

/**
 * The leaves that `outputs` were computed from by other ways than through `inputs`. Null if such a way leads to a
 * node no newer than number `since`: the result of an op that ran before, and is no input.
 */
export function leavesOf(
  outputs: readonly Tensor[],
  inputs: readonly Tensor[],
  since: number,
): Set<Tensor> | null {
  const leaves = new Set<Tensor>()
  const ends = new Set<Place>(inputs.map(placeOf))
  const seen = new Set<Place>(outputs.filter((output) => output.requiresGrad).map(placeOf))
  for (const place of seen) {
    if (ends.has(place)) continue
    if (!(place instanceof Node)) leaves.add(place)
    else if (place.sequence <= since) return null
    else for (const parent of place.parents) if (parent !== null) seen.add(parent)
  }
  return leaves
}

/**
 * The gradients of `roots` with respect to `wanted`, null where there is none. They are owned by the caller's tidy().
 *
 * @param since the walk ends at nodes up to this number: 0 for the whole graph
 */
function gradients(
  where: string,
  roots: readonly Tensor[],
  wanted: readonly Tensor[],
  seeds: Gradients,
  modes: { retainGraph: boolean; createGraph: boolean },
  since: number,
): Gradients {
  const targets = new Map<Place, Set<number>>()
  for (const input of wanted) {
    const place = placeOf(input)
    targets.set(place, (targets.get(place) ?? new Set()).add(input._slot))
  }
  const starts = roots.map(placeOf).filter((place) => place instanceof Node)
  const order = collect(where, starts, since, targets)
  const found = detached(() => {
    const given = roots.map((root, i): [Tensor, Tensor | null] => [root, seeds[i] ?? null])
    const harvest = walk(order, targets, modes.retainGraph, given)
    const taken = new Set<Tensor>()
    return wanted.map((input) => {
      const dx = harvest.get(placeOf(input))?.[input._slot] ?? null
      if (dx === null) return null
      // An input that is asked for twice gets a tensor of its own each time.
      if (taken.has(dx)) return view(dx, dx._shape)
      taken.add(dx)
      return dx
    })
  }, modes.createGraph)
  for (const dx of found) if (dx !== null) track(dx)
  return found
}

function placeOf(x: Tensor): Place {
  return x._node ?? x
}

// -- checks --------------------------------------------------------------------

function checkRoot(where: string, root: Tensor): void {
  if (!isTensor(root)) throw foreignError('Tensor', root)
  if (root.disposed) throw disposedError(where)
  if (!root.requiresGrad) throw graphlessError(where, root._isGradient)
}

function checkSeed(where: string, root: Tensor, gradient: Tensor | null): void {
  if (gradient === null) {
    if (root.size === 1) return
    throw shapeError(
      where,
      'a tensor with one element when no gradient is given',
      shapeText(root._shape),
      'reduce it with sum() or mean(), or pass a gradient of that shape',
    )
  }
  checkTensor(where, 'gradient', gradient)
  checkPlacement(where, 'gradient', gradient, root.dtype, root.device)
  checkShapeIs(where, 'gradient', gradient, root._shape)
  if (gradient.disposed) throw disposedError(where)
}

function checkModes(where: string, options: BackwardOptions): { retainGraph: boolean; createGraph: boolean } {
  const createGraph = checkBoolean(where, 'createGraph', options.createGraph ?? false)
  const retainGraph = checkBoolean(where, 'retainGraph', options.retainGraph ?? createGraph)
  return { retainGraph, createGraph }
}

/** One gradient or null per output. */
function checkSeeds(where: string, roots: readonly Tensor[], given: unknown): Gradients {
  const seeds = given === null || isTensor(given) ? [given] : given
  if (!Array.isArray(seeds) || (given !== null && seeds.length !== roots.length)) {
    throw argumentError(where, `gradOutputs: a tensor or null for each of ${roots.length} outputs`, given)
  }
  return seeds as Gradients
}

function checkTensors(where: string, name: string, list: unknown): Tensor[] {
  if (!Array.isArray(list)) throw argumentError(where, `a tensor or an array of tensors as ${name}s`, list)
  return list.map((x, i) => {
    checkTensor(where, `${name} ${i}`, x)
    return x
  })
}

// -- the walk --------------------------------------------------------------------

/**
 * The nodes that lead to `starts`, last made first, checked before anything runs; where there are targets,
 * only those between them and `starts`.
 */
function collect(
  where: string,
  starts: readonly Node[],
  since: number,
  targets: ReadonlyMap<Place, ReadonlySet<number>> | null = null,
): Node[] {
  const order: Node[] = []
  const stack: Node[] = []
  const enter = (node: Place | null): void => {
    if (!(node instanceof Node) || node.visited || node.sequence <= since) return
    node.visited = true
    stack.push(node)
  }
  for (const start of starts) enter(start)
  for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
    order.push(node)
    for (const parent of node.parents) enter(parent)
  }
  for (const node of order) node.visited = false
  order.sort((a, b) => b.sequence - a.sequence)
  const running = targets === null ? order : leading(order, targets)
  const latest = starts.reduce((most, { sequence }) => Math.max(most, sequence), 0)
  for (const node of running) {
    const failure = check(where, node, latest)
    if (failure !== null) {
      for (const one of order) one.routes = null
      throw failure
    }
  }
  return running
}

/** The nodes that lead to a target, in the same order. Sets `routes` of each. */
function leading(order: readonly Node[], targets: ReadonlyMap<Place, ReadonlySet<number>>): Node[] {
  const found = new Set<Node>()
  for (const node of order.toReversed()) {
    const routes = node.parents.map(
      (parent, i) =>
        parent !== null &&
        (targets.get(parent)?.has(node.slots[i] as number) === true || found.has(parent as Node)),
    )
    if (!routes.includes(true)) continue
    node.routes = routes
    found.add(node)
  }
  return order.filter((node) => found.has(node))
}

function check(where: string, node: Node, latest: number): Error | null {
  if (node.backward === null) return usedError(where, node.op, latest > node.consumed)
  const { storages, versions } = node
  for (let i = 0; i < storages.length; i++) {
    const storage = storages[i]
    if (storage && storage.version !== versions[i]) return modifiedError(node.op)
  }
  return null
}

/**
 * Runs the nodes. Returns what arrived at leaves and, where there are targets, at those.
 *
 * @param roots where it begins, with their gradients; null is ones
 */
function walk(
  order: readonly Node[],
  targets: ReadonlyMap<Place, ReadonlySet<number>> | null,
  retainGraph: boolean,
  roots: readonly (readonly [Tensor, Tensor | null])[],
): Map<Place, Gradients> {
  const harvest = new Map<Place, Gradients>()
  const running = new Set<Place>(order)
  const arrive = (place: Place, slot: number, dx: Tensor): void => {
    let list: Gradients
    if (place instanceof Node && running.has(place)) list = place.gradients ??= []
    else {
      list = harvest.get(place) ?? []
      harvest.set(place, list)
    }
    list[slot] = merge(list[slot] ?? null, dx)
  }
  // A node in the list outlives its children's release of it.
  for (const node of order) {
    node.references++
    node.retained = retainGraph
  }
  let failed = true
  try {
    for (const [root, gradient] of roots) {
      const place = placeOf(root)
      const wanted = targets === null || running.has(place) || targets.get(place)?.has(root._slot)
      if (wanted) arrive(place, root._slot, seeded(root, gradient))
    }
    for (const node of order) {
      for (const slot of targets?.get(node) ?? []) {
        const dx = node.gradients?.[slot] ?? null
        if (dx !== null)
          harvest.set(node, Object.assign(harvest.get(node) ?? [], { [slot]: view(dx, dx._shape) }))
      }
      step(node, arrive)
    }
    failed = false
    return harvest
  } finally {
    if (failed) for (const list of harvest.values()) for (const dx of list) dx?.dispose()
    for (const node of order) {
      clear(node)
      node.routes = null
      node.release()
    }
  }
}

function step(node: Node, arrive: (place: Place, slot: number, dx: Tensor) => void): void {
  const { parents, slots, outputs } = node
  if (node.gradients !== null) {
    const given = node.gradients
    for (let i = 0; i < outputs; i++) given[i] ??= null
    const made: Tensor[] = []
    const outer = openScope(made)
    const kept = new Set<Tensor>()
    try {
      const results = (node.backward as Backward)(given[0] as Tensor, node, given)
      watchBackward(node, results)
      openScope(outer)
      for (let i = 0; i < parents.length; i++) {
        const dx = results[i] ?? null
        if (dx === null || !node.wants(i)) continue
        // What comes back twice, or was not made here, gets a tensor of its own.
        const own = made.includes(dx) && !kept.has(dx)
        if (own) kept.add(dx)
        arrive(parents[i] as Place, slots[i] as number, own ? dx : view(dx, dx._shape))
      }
    } finally {
      openScope(outer)
      for (const one of made) if (!kept.has(one)) one.dispose()
    }
    clear(node)
  }
  if (!node.retained) node.consume()
}

function clear(node: Node): void {
  const { gradients } = node
  if (gradients === null) return
  node.gradients = null
  for (const gradient of gradients) gradient?.dispose()
}

/** Adds to leaf.grad, in place unless recorded. What becomes leaf.grad owns its storage alone. */
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

/** What a walk begins with: a view of the gradient given, or ones. */
function seeded(root: Tensor, gradient: Tensor | null): Tensor {
  if (gradient !== null) return view(gradient, gradient._shape)
  return filled(root, 1)
}

function filled(like: Tensor, value: number): Tensor {
  const out = resultLike(like)
  fill(out, value, 'backward')
  return out
}

function merge(sum: Tensor | null, gradient: Tensor): Tensor {
  return sum === null ? gradient : accumulate(sum, gradient, sum._live('backward').references === 1)
}

/** sum + gradient, written over `sum` if `inPlace` and nothing is recorded. Consumes both. */
function accumulate(sum: Tensor, gradient: Tensor, inPlace: boolean): Tensor {
  const recorded = needsGrad(sum) || needsGrad(gradient)
  const over = inPlace && !recorded && !sum.requiresGrad
  const storage = sum._live('backward')
  const out = over ? sum : result(sum._shape, sum.dtype, sum.device)
  native().binary(
    dtypeNumber(sum.dtype),
    BINARY.add,
    denseLayout(sum.size),
    storage.handle,
    gradient._handle('backward'),
    out._handle('backward'),
  )
  if (recorded) record('add', [sum, gradient], [out], [], (dy) => [dy, dy])
  if (over) storage.touch()
  else sum.dispose()
  gradient.dispose()
  return out
}

/** `gradient` itself if nothing else holds its storage, else a copy. Consumes it. */
function ownStorage(gradient: Tensor): Tensor {
  if (gradient._live('backward').references === 1) return gradient
  const out = result(gradient._shape, gradient.dtype, gradient.device)
  copyElements(gradient, 0, out, 0, gradient.size)
  if (needsGrad(gradient)) record('clone', [gradient], [out], [], (dy) => [dy])
  gradient.dispose()
  return out
}
