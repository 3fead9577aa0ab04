// Text: a GRU learns a rhyme by heart, character by character, and recites it.
//   cd examples && npm install && node text.mjs
import { Adam, crossEntropy, Embedding, GRU, Linear, Module, manualSeed, tensor, tidy } from 'bptt'

const text = 'The rain in Spain stays mainly in the plain.\n'.repeat(20)
const characters = [...new Set(text)]
const ids = Int32Array.from(text, (character) => characters.indexOf(character))

class Model extends Module {
  constructor(vocabulary) {
    super()
    this.embedding = new Embedding(vocabulary, 16)
    this.gru = new GRU(16, 64)
    this.linear = new Linear(64, vocabulary)
  }

  forward(ids, h0) {
    const { output, hn } = this.gru.forward(this.embedding.forward(ids), { h0 })
    return { logits: this.linear.forward(output), hn }
  }
}

manualSeed(1)
const model = new Model(characters.length)
const optimizer = new Adam(model.parameters(), { lr: 0.01 })
const steps = ids.length - 1
const input = tensor(ids.subarray(0, steps), [steps, 1])
const target = tensor(ids.subarray(1), [steps])

for (let epoch = 1; epoch <= 60; epoch++) {
  const loss = tidy(() => {
    const { logits } = model.forward(input)
    const loss = crossEntropy(logits.reshape([steps, characters.length]), target)
    optimizer.zeroGrad()
    loss.backward()
    optimizer.step()
    return loss
  })
  if (epoch % 20 === 0)
    console.log(`epoch ${epoch}: ${((await loss.item()) / Math.LN2).toFixed(3)} bits per character`)
  loss.dispose()
}

let line = 'T'
let [id, state] = [characters.indexOf('T'), undefined]
while (line.length < 60 && !line.endsWith('\n')) {
  const { logits, hn } = model.forward(tensor([[id]], undefined, { dtype: 'int32' }), state)
  const scores = await logits.data()
  id = scores.indexOf(Math.max(...scores))
  state = hn.detach()
  line += characters[id]
}
console.log(line.trimEnd())
