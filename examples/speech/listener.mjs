// A listener: sound in, letters out, by a convolution, a bidirectional LSTM and CTC. train.mjs trains it.
import {
  Conv1d,
  ctcBeamSearch,
  ctcGreedyDecode,
  Dropout,
  Linear,
  LSTM,
  Module,
  noGrad,
  rand,
  tensor,
  tidy,
} from 'bptt'
import { decode, digits, SYMBOLS } from './lexicon.mjs'
import { BANDS, features, readWav } from './sound.mjs'

export class Listener extends Module {
  constructor({ hidden, dropout }) {
    super()
    this.conv = new Conv1d(BANDS, hidden, 5, { stride: 2, padding: 2 }) // a step of 20 ms sees 50 ms
    this.dropout = new Dropout(dropout)
    this.lstm = new LSTM(hidden, hidden, { bidirectional: true })
    this.head = new Linear(2 * hidden, SYMBOLS.length)
  }

  /** Features [B,BANDS,T] and the lengths of the rows: log-probabilities [T / 2,B,symbols] and their lengths. */
  forward(x, frames) {
    const lengths = frames.map((length) => Math.ceil(length / 2))
    const steps = this.dropout.forward(this.conv.forward(x).relu()).permute([2, 0, 1])
    const { output } = this.lstm.forward(steps, { lengths })
    return { logProbs: this.head.forward(this.dropout.forward(output)).logSoftmax(-1), lengths }
  }
}

/** What is in a file, as the model reads it: [BANDS,length] features. */
export async function listen(path) {
  const x = features(readWav(path))
  const bands = await x.data()
  const [, length] = x.shape
  x.dispose()
  return { bands, length }
}

/**
 * Some utterances as one batch, filled up with silence. Varied: as if throats were longer or shorter, by up to two
 * bands, and with up to 8 bands and 15 frames wiped out (Park et al. 2019, SpecAugment).
 */
export function batchOf(utterances, varied = false) {
  const frames = utterances.map(({ length }) => length)
  const longest = Math.max(...frames)
  const data = new Float32Array(utterances.length * BANDS * longest)
  const chances = rand([utterances.length, 5]).dataSync()
  for (const [b, { bands, length }] of utterances.entries()) {
    const chance = (i, below) => (varied ? Math.floor(chances[5 * b + i] * below) : 0)
    const shift = varied ? chance(0, 5) - 2 : 0
    const [wiped, wide] = [chance(1, BANDS), chance(2, 9)]
    const [begin, long] = [chance(3, length), chance(4, 16)]
    for (let band = 0; band < BANDS; band++) {
      if (band >= wiped && band < wiped + wide) continue
      const from = Math.min(Math.max(band + shift, 0), BANDS - 1)
      const row = data.subarray((b * BANDS + band) * longest).subarray(0, length)
      row.set(bands.subarray(from * length, (from + 1) * length))
      row.fill(0, begin, begin + long)
    }
  }
  return [tensor(data, [utterances.length, BANDS, longest]), frames]
}

export const batches = (utterances, size) =>
  Array.from({ length: Math.ceil(utterances.length / size) }, (_, i) =>
    utterances.slice(i * size, (i + 1) * size),
  )

/** Texts by the likeliest path, and by a search that knows the words. */
export async function transcribe(model, utterances) {
  model.eval()
  const found = []
  for (const some of batches(utterances, 64)) {
    const { logProbs, lengths } = tidy(() => noGrad(() => model.forward(...batchOf(some))))
    const paths = await ctcGreedyDecode(logProbs, { lengths })
    const beam = await ctcBeamSearch(logProbs, { lengths, beams: 16, languageModel: digits })
    logProbs.dispose()
    for (const b of some.keys())
      found.push({ path: decode(paths[b].tokens), beam: decode((beam[b][0] ?? paths[b]).tokens) })
  }
  model.train()
  return found
}
