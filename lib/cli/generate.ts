/** Text from a model, one character at a time, by the streaming layer. */
import { BpttError, manualSeed, rand, sampleToken } from '../index.ts'
import type { CharModel } from './model.ts'
import { UNKNOWN, type Vocabulary } from './text.ts'

export interface GenerateOptions {
  prompt?: string
  length: number
  /** 0 always takes the likeliest character. */
  temperature: number
  seed: number
}

/** Random numbers drawn at a time; a multiple of 4, as many as the generator makes at once, so that none is left out. */
const DRAWS = 4096

/** Yields `length` characters that continue the prompt. Seeds the random numbers of this environment. */
export async function* generate(
  model: CharModel,
  vocabulary: Vocabulary,
  options: GenerateOptions,
): AsyncGenerator<string, void, void> {
  const { prompt = '', length, temperature, seed } = options
  manualSeed(seed)
  const [embedding, weight, bias] = (await Promise.all(
    [model.embedding.weight, model.linear.weight, model.linear.bias].map(
      async (t) => (await t?.data()) as Float32Array,
    ),
  )) as [Float32Array, Float32Array, Float32Array]
  const width = embedding.length / vocabulary.size
  const stream = model.rnn.stream()
  try {
    const hidden = new Float32Array(weight.length / vocabulary.size)
    const feed = (id: number): void => {
      stream.step(embedding.subarray(id * width, (id + 1) * width), hidden)
    }
    // The state is empty before the first character; a line break is the most neutral start.
    const start = vocabulary.encode(prompt === '' ? '\n' : prompt)
    for (const id of start) feed(id)
    let draws: Float32Array = new Float32Array()
    for (let i = 0; i < length; i++) {
      if (i % DRAWS === 0) draws = await uniform(Math.min(DRAWS, length - i))
      const logits = allowed(classify(hidden, weight, bias))
      const id = (
        await sampleToken(logits, { temperature, draws: [draws[i % DRAWS] as number] })
      )[0] as number
      yield vocabulary.decode(id)
      feed(id)
    }
  } finally {
    stream.dispose()
  }
}

async function uniform(count: number): Promise<Float32Array> {
  const draws = rand([count])
  const values = await draws.data()
  draws.dispose()
  return values as Float32Array
}

/** The linear layer: weight [V,H], bias [V]. */
function classify(hidden: Float32Array, weight: Float32Array, bias: Float32Array): Float64Array {
  const logits = new Float64Array(bias.length)
  for (let v = 0; v < bias.length; v++) {
    let sum = bias[v] as number
    const row = v * hidden.length
    for (let k = 0; k < hidden.length; k++) sum += (weight[row + k] as number) * (hidden[k] as number)
    logits[v] = sum
  }
  return logits
}

/** The logits without the unknown character, which is never generated. */
function allowed(logits: Float64Array): Float64Array {
  if (!logits.every(Number.isFinite)) {
    throw new BpttError(
      'ERR_BPTT_VALUE',
      'the model computes what is not a finite number: its weights are of no use',
    )
  }
  logits[UNKNOWN] = Number.NEGATIVE_INFINITY
  return logits
}
