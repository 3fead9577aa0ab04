/**
 * The native calls beneath one training pass of the API, called directly: forward, sum and backward of one layer.
 * What the API costs beside them is its own: checks, tensors, the tape.
 */
import {
  CPU_DEVICE,
  DTYPE,
  describeStack,
  type Handle,
  hasC,
  native,
  parameterShapes,
  type RecurrentCall,
  stackOf,
} from '#internals'
import type { Given, Prepared } from './passes.ts'

const STAMP = 1

export function prepareNative({ one, read }: Given): Prepared {
  const { T, B, I, H, cell, dtype: name } = one
  const api = native()
  const [dtype, bytes] = [DTYPE[name], name === 'float32' ? 4 : 8]
  const stack = stackOf(one)
  const desc = describeStack({ ...stack, name: cell, batchFirst: false, dtype: name }, T, B, false, true, 0)
  const allocate = (elements: number): Handle => api.allocate(CPU_DEVICE, elements * bytes)
  const upload = (of: string): Handle => {
    const { values } = read(of)
    const handle = allocate(values.length)
    api.upload(handle, values)
    return handle
  }
  const parameters = [...parameterShapes(one).keys()].map(upload)
  const sizes = [...parameterShapes(one).values()].map((shape) =>
    shape.reduce((product, size) => product * size, 1),
  )
  const x = upload('x')
  const packedBytes = api.packedBytes(desc, CPU_DEVICE)
  const packed = api.allocate(CPU_DEVICE, packedBytes)
  api.fill(DTYPE.float32, packedBytes / 4, 0, packed)
  const held = [x, packed, ...parameters]

  function pass(): void {
    const [y, hn, loss] = [allocate(T * B * H), allocate(B * H), allocate(1)]
    const cn = hasC(stack.cell) ? allocate(B * H) : null
    const call: RecurrentCall = [desc, parameters, null, y, packed, STAMP, 0, 0, x, null, null]
    const reserve = api.recurrentForward(...call, hn, cn) as Handle
    api.sum(dtype, Float64Array.of(3, T, B, H, 1, 1, 1), 1, y, loss)
    const [one, dy, dx] = [allocate(1), allocate(T * B * H), allocate(T * B * I)]
    api.fill(dtype, 1, 1, one)
    // Broadcasts: the source has strides of zero.
    api.copy(dtype, Float64Array.of(3, 0, 0, T, B, H, 0, 0, 0, B * H, H, 1), one, dy)
    const gradients = sizes.map(allocate)
    const none = [null, null] as const
    api.recurrentBackward(gradients, ...call, dy, ...none, dx, ...none, reserve, false)
    for (const handle of [y, hn, loss, cn, reserve, one, dy, dx, ...gradients])
      if (handle) api.release(handle)
  }

  return {
    async run(iterations) {
      for (let i = 0; i < iterations; i++) {
        pass()
        await api.synchronize(CPU_DEVICE)
      }
    },
    check: () => Promise.resolve(new Map()),
    dispose() {
      for (const handle of held) if (handle) api.release(handle)
    },
  }
}
