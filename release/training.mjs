// A short training run with a fixed seed: every kind of layer, dropout, lengths, an optimizer. Prints, as JSON, the
// losses and a hash of all parameters after it, which are the same bits for every build of one instruction set.
import { createHash } from 'node:crypto'
import {
  AdamW,
  clipGradNorm,
  GRU,
  info,
  LayerNorm,
  Linear,
  LSTM,
  manualSeed,
  mseLoss,
  RNN,
  randn,
  tidy,
} from 'bptt'

manualSeed(5)
const [T, B, H] = [12, 6, 20]
const x = randn([T, B, 3])
const y = randn([T, B, 1])
const lengths = [12, 5, 0, 7, 12, 1]

const lstm = new LSTM(3, H, { numLayers: 2, dropout: 0.2, bidirectional: true, projSize: 9 })
const gru = new GRU(18, H)
const rnn = new RNN(H, H)
const norm = new LayerNorm(H)
const head = new Linear(H, 1)
const parameters = [lstm, gru, rnn, norm, head].flatMap((module) => module.parameters())
const optimizer = new AdamW(parameters, { lr: 0.01 })

const losses = []
for (let step = 0; step < 20; step++)
  losses.push(
    tidy(() => {
      const hidden = rnn.forward(gru.forward(lstm.forward(x, { lengths }).output).output).output
      const loss = mseLoss(head.forward(norm.forward(hidden)), y)
      optimizer.zeroGrad()
      loss.backward()
      clipGradNorm(parameters, 1)
      optimizer.step()
      return loss
    }),
  )

const hash = createHash('sha256')
for (const parameter of parameters) hash.update(new Uint8Array((await parameter.data()).buffer))
const values = await Promise.all(losses.map((loss) => loss.item()))
if (!(values.at(-1) < values[0])) throw new Error(`the loss did not fall: ${values}`)
const { isa, compiler } = info()
console.log(JSON.stringify({ isa, compiler, losses: values, parameters: hash.digest('hex') }))
