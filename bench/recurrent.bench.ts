/**
 * One layer of each cell through the public API: inference, and a training step from
 * forward() to the awaited gradients. `npm run bench`, or with BPTT_ISA and
 * `-t 'LSTM .* batch-small'` for a part. Times vary with the machine: compare ratios.
 */
import { GRU, LSTM, noGrad, RNN, randn, tidy } from 'bptt'
import { bench, describe } from 'vitest'
import { forwardOperations, shapes } from './shapes.ts'

const cells = [
  { name: 'LSTM', Cell: LSTM, gates: 4 },
  { name: 'GRU', Cell: GRU, gates: 3 },
  { name: 'RNN', Cell: RNN, gates: 1 },
]

for (const { name, Cell, gates } of cells) {
  for (const shape of shapes) {
    const { B, T, I, H } = shape
    const gigaflops = forwardOperations(shape, gates) / 1e9
    describe(`${name} ${shape.name} B=${B} T=${T} I=${I} H=${H}, forward ${gigaflops.toFixed(3)} GF`, () => {
      const layer = new Cell(I, H)
      const input = randn([T, B, I], { requiresGrad: true })
      const options = { time: 1000, warmupTime: 200 }

      bench(
        'forward',
        async () => {
          const output = noGrad(() => layer.forward(input).output)
          await output.slice(0, 0, 1).data()
          output.dispose()
        },
        options,
      )

      bench(
        'training step',
        async () => {
          tidy(() => layer.forward(input).output.sum().backward())
          await layer.parameters()[0]?.grad?.data()
          layer.zeroGrad()
          input.grad?.dispose()
          input.grad = null
        },
        options,
      )
    })
  }
}
