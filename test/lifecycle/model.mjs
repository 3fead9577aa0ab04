// A small classifier of sequences and its training step, for the programs beside it.
import { Adam, clipGradNorm, crossEntropy, Linear, LSTM, manualSeed, tensor } from 'bptt'

export function makeModel({ input = 16, hidden = 32, classes = 8, steps = 10, batch = 8, seed = 1 } = {}) {
  manualSeed(seed)
  const lstm = new LSTM(input, hidden)
  const head = new Linear(hidden, classes)
  const parameters = [...lstm.parameters(), ...head.parameters()]
  const optimizer = new Adam(parameters, { lr: 1e-3 })
  const values = Float32Array.from({ length: steps * batch * input }, (_, i) => Math.sin(i * 0.37))
  const labels = Int32Array.from({ length: steps * batch }, (_, i) => i % classes)
  const logits = () => head.forward(lstm.forward(tensor(values, [steps, batch, input])).output)
  return {
    logits,
    parameters,
    /** One step of training; returns the loss. */
    train() {
      const loss = crossEntropy(logits().reshape([steps * batch, classes]), tensor(labels))
      optimizer.zeroGrad()
      loss.backward()
      clipGradNorm(parameters, 1)
      optimizer.step()
      return loss
    },
  }
}
