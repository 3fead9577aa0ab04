// A translator of short sequences: an LSTM reads one in both directions, another writes the translation, and looks back
// at what was read by attention (Luong et al., 2015). dates.mjs and pronounce.mjs train it.
import {
  AdamW,
  beamSearch,
  clipGradNorm,
  concat,
  crossEntropy,
  DotAttention,
  Dropout,
  decayGroups,
  Embedding,
  Linear,
  LSTM,
  Module,
  noGrad,
  OneCycleLR,
  rand,
  tensor,
  tidy,
} from 'bptt'

const [PAD, BEGIN, END] = [0, 1, 2]

/** The symbols of some sequences, and their numbers. */
export class Vocabulary {
  constructor(sequences) {
    this.symbols = ['', '<begin>', '<end>', ...new Set(sequences.flat())]
    this.ids = new Map(this.symbols.map((symbol, id) => [symbol, id]))
  }

  encode(sequence) {
    return sequence.map((symbol) => this.ids.get(symbol) ?? PAD)
  }

  decode(ids) {
    return ids.map((id) => this.symbols[id])
  }
}

/** Rows of ids as one tensor [B,T], filled up with PAD. */
function padded(rows) {
  const width = Math.max(...rows.map((row) => row.length))
  const ids = new Int32Array(rows.length * width)
  rows.forEach((row, b) => {
    ids.set(row, b * width)
  })
  return tensor(ids, [rows.length, width])
}

export class Translator extends Module {
  constructor(source, target, { embedding = 64, hidden = 128, dropout = 0 } = {}) {
    super()
    const width = 2 * hidden
    this.read = new Embedding(source.symbols.length, embedding)
    this.encoder = new LSTM(embedding, hidden, { batchFirst: true, bidirectional: true })
    this.written = new Embedding(target.symbols.length, embedding)
    this.decoder = new LSTM(embedding, width, { batchFirst: true })
    this.attention = new DotAttention({ querySize: width, keySize: width })
    this.combine = new Linear(2 * width, width)
    this.head = new Linear(width, target.symbols.length)
    this.dropout = new Dropout(dropout)
    this.vocabularies = { source, target }
  }

  /** What the encoder says of each symbol, [B,S,2H], and its last states, with which the decoder begins: [1,B,2H]. */
  encode(rows) {
    const lengths = Int32Array.from(rows, (row) => row.length)
    const { output, hn, cn } = this.encoder.forward(this.dropout.forward(this.read.forward(padded(rows))), {
      lengths,
    })
    const joined = (state) => concat([state.slice(0, 1), state.slice(1)], 2) // both directions side by side
    return { memory: output, lengths, h0: joined(hn), c0: joined(cn) }
  }

  /** Scores of the next symbol, from the decoder's output and where it looked. */
  score(output, context) {
    const both = this.combine.forward(concat([output, context], -1)).tanh()
    return this.head.forward(this.dropout.forward(both))
  }

  /** The loss of a batch. The decoder is given the right symbols so far, so that all its steps are one call. */
  forward(sources, targets) {
    const { memory, lengths, h0, c0 } = this.encode(sources)
    const begun = padded(targets.map((row) => [BEGIN, ...row]))
    const ended = padded(targets.map((row) => [...row, END]))
    const { output } = this.decoder.forward(this.dropout.forward(this.written.forward(begun)), { h0, c0 })
    const { output: context } = this.attention.forward(output, memory, { lengths })
    return crossEntropy(this.score(output, context), ended, { axis: -1, ignoreIndex: PAD })
  }

  /** The likeliest translations, each as { symbols, logProb, attention }: here the decoder reads what it wrote. */
  async translate(sequences, { beams = 5, maxLength = 40 } = {}) {
    const { source, target } = this.vocabularies
    const cell = this.decoder.cell()
    const step = (tokens, { h, c, memory, lengths }) => {
      const next = cell.forward(this.written.forward(tensor(tokens)), { h, c })
      const { output: context, weights } = this.attention.forward(next.h, memory, { lengths })
      return {
        logits: this.score(next.h, context),
        attention: weights,
        state: { ...next, memory, lengths },
      }
    }
    this.eval()
    const { memory, lengths, h0, c0 } = tidy(() =>
      noGrad(() => this.encode(sequences.map((s) => source.encode(s)))),
    )
    const state = { h: h0.squeeze(0), c: c0.squeeze(0), memory, lengths }
    const found = await beamSearch(step, state, {
      start: BEGIN,
      stop: END,
      batch: sequences.length,
      beams,
      maxLength,
    })
    this.train()
    for (const one of [memory, h0, c0, state.h, state.c]) one.dispose()
    return found.map(([best]) => ({ ...best, symbols: target.decode(best.tokens) }))
  }
}

/** Batches of pairs of similar length, in random order. */
async function shuffled(pairs, size) {
  const chance = await rand([pairs.length]).data()
  const length = (i) => pairs[i][0].length + chance[i]
  const order = Array.from(pairs.keys()).sort((a, b) => length(a) - length(b))
  const batches = []
  for (let i = 0; i < order.length; i += size) batches.push(order.slice(i, i + size))
  batches.sort(([a], [b]) => chance[a] - chance[b])
  return batches.map((batch) => batch.map((i) => pairs[i]))
}

/** Trains on pairs of sequences; `report` is told of each epoch. */
export async function train(model, pairs, { epochs, batchSize = 128, lr = 0.004, report }) {
  const { source, target } = model.vocabularies
  const encoded = pairs.map(([from, to]) => [source.encode(from), target.encode(to)])
  const parameters = model.parameters()
  const optimizer = new AdamW(decayGroups(model), { weightDecay: 0.01 })
  const totalSteps = epochs * Math.ceil(pairs.length / batchSize)
  const schedule = new OneCycleLR(optimizer, { maxLr: lr, totalSteps, pctStart: 0.1 })
  for (let epoch = 1; epoch <= epochs; epoch++) {
    let [sum, batches] = [0, 0]
    for (const batch of await shuffled(encoded, batchSize)) {
      const loss = tidy(() => {
        const loss = model.forward(
          batch.map(([from]) => from),
          batch.map(([, to]) => to),
        )
        optimizer.zeroGrad()
        loss.backward()
        clipGradNorm(parameters, 1)
        optimizer.step()
        return loss
      })
      schedule.step()
      sum += await loss.item()
      batches++
      loss.dispose()
    }
    report?.(epoch, sum / batches)
  }
}
