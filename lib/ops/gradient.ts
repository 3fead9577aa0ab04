/** What the tape itself computes: seeds, sums and copies of gradients. */
import { BINARY, native } from '../binding.ts'
import { dtypeNumber } from '../dtype.ts'
import { result, type Tensor } from '../tensor.ts'
import { denseLayout } from './layout.ts'

/** Ones, shaped like `x`. */
export function ones(x: Tensor): Tensor {
  const out = result(x._shape, x.dtype, x.device)
  native().fill(dtypeNumber(x.dtype), x.size, 1, out._handle('backward'))
  return out
}

/** sum + gradient, written over `sum` if `inPlace`. Consumes both. */
export function accumulate(sum: Tensor, gradient: Tensor, inPlace: boolean): Tensor {
  const storage = sum._live('backward')
  const out = inPlace ? sum : result(sum._shape, sum.dtype, sum.device)
  native().binary(
    BINARY.add,
    dtypeNumber(sum.dtype),
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
export function ownStorage(gradient: Tensor): Tensor {
  if (gradient._live('backward').references === 1) return gradient
  const out = result(gradient._shape, gradient.dtype, gradient.device)
  native().copy(
    dtypeNumber(gradient.dtype),
    Float64Array.of(1, 0, 0, gradient.size, 1, 1),
    gradient._handle('backward'),
    out._handle('backward'),
  )
  gradient.dispose()
  return out
}
