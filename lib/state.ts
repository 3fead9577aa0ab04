/** Values from elsewhere into tensors that stay: all of them, or none. */
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
  const aside: Tensor[] = []
  try {
    const sources = pairs.map(([to, from]) => {
      const source = from._live(where)
      if (source === to._live(where) || (from.device === to.device && !targets.has(source))) return from
      const copy = copyTo(from, to.device)
      aside.push(copy)
      return copy
    })
    for (const source of sources) settle(where, source)
    pairs.forEach(([to], i) => {
      copyInto(to, sources[i] as Tensor)
    })
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
    if (x.device === device) copyInto(copy, x)
    else native().upload(copy._handle('copy'), x.dataSync())
  } catch (error) {
    copy.dispose()
    throw error
  }
  return copy
}

/** Overwrites `to` with `from`, of the same shape, dtype and device. */
export function copyInto(to: Tensor, from: Tensor): void {
  const target = to._live('copy')
  if (from._live('copy') === target) return
  copyElements(from, 0, to, 0, to.size)
  target.touch()
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
