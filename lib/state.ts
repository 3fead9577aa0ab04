/** Writes into tensors that are there: copies, and one value everywhere. */
import { native } from './binding.ts'
import { type Device, type DType, dtypeNumber } from './dtype.ts'
import { detached } from './scope.ts'
import { result, type Tensor } from './tensor.ts'

/**
 * Overwrites the first tensor of each pair with the second, of the same shape and dtype, as if all were
 * read before any is written. Waits until the values are computed; where one of them failed, or memory
 * is missing for what must be set aside, it throws and nothing has changed.
 */
export function copyAll(where: string, pairs: readonly (readonly [to: Tensor, from: Tensor])[]): void {
  const targets = new Set(pairs.map(([to]) => to._live(where)))
  const aside: Tensor[] = [] // copies of what another pair overwrites, or of another device
  try {
    const copies = pairs.flatMap(([to, from]): { to: Tensor; source: Tensor }[] => {
      const storage = from._live(where)
      if (storage === to._live(where)) {
        settle(where, from)
        return []
      }
      if (from.device === to.device && !targets.has(storage)) return [{ to, source: from }]
      const copy = copyTo(from, to.device)
      aside.push(copy)
      return [{ to, source: copy }]
    })
    for (const { source } of copies) settle(where, source)
    native().copyAll(
      Float64Array.from(copies.flatMap(({ to }) => [dtypeNumber(to.dtype), to.size])),
      copies.map(({ source }) => source._handle(where)),
      copies.map(({ to }) => to._handle(where)),
    )
    for (const { to } of copies) to._live(where).touch()
  } finally {
    for (const copy of aside) copy.dispose()
  }
}

/** Blocks this thread until `x` is computed; throws the failure of the op that should have done so. */
export function settle(where: string, x: Tensor): void {
  native().readSync(x._handle(where), 0)
}

/** A copy on `device`, not owned by any tidy(). From another device it waits for the work before. */
export function copyTo<D extends DType>(x: Tensor<D>, device: Device): Tensor<D> {
  const copy = detached(() => result(x.shape, x.dtype, device))
  try {
    if (x.device === device) copyElements(x, 0, copy, 0, x.size)
    else native().upload(copy._handle('copy'), x.dataSync())
  } catch (error) {
    copy.dispose()
    throw error
  }
  return copy
}

/** Gives every element one value. The version stays: touch() the storage of a tensor that is in use already. */
export function fill(x: Tensor, value: number, where: string): void {
  native().fill(dtypeNumber(x.dtype), x.size, value, x._handle(where))
}

/** Copies `count` elements in their order, from one place of a tensor to another of a second one. */
export function copyElements(from: Tensor, start: number, to: Tensor, place: number, count: number): void {
  if (count === 0) return
  native().copy(
    dtypeNumber(from.dtype),
    Float64Array.of(1, start, place, count, 1, 1),
    from._handle('copy'),
    to._handle('copy'),
  )
}
