/** The character-level language model: Embedding -> LSTM, GRU or RNN -> Linear. */
import { Dropout, Embedding, GRU, Linear, LSTM, Module, RNN, type Tensor } from '../index.ts'
import { type CellName, parameterShapes } from './cells.ts'
import type { ModelSettings } from './settings.ts'

/** What one chunk hands to the next: h, and c of an LSTM, each [L,B,H]. */
export type CarriedState = { h: Tensor; c?: Tensor }

export interface Prediction {
  logits: Tensor // [T,B,V]
  state: CarriedState
}

const LAYERS = { lstm: LSTM, gru: GRU, rnn: RNN } satisfies Record<CellName, unknown>

export class CharModel extends Module {
  readonly embedding: Embedding
  readonly rnn: LSTM | GRU | RNN
  readonly dropout: Dropout
  readonly linear: Linear

  constructor(vocabularySize: number, settings: ModelSettings) {
    super()
    const { embedding, hidden, layers } = settings
    // Dropout between layers is the layer's own; the one below follows the last layer.
    const options = { numLayers: layers, dropout: layers > 1 ? settings.dropout : 0 }
    this.embedding = new Embedding(vocabularySize, embedding)
    this.rnn = new LAYERS[settings.cell](embedding, hidden, options)
    this.dropout = new Dropout(settings.dropout)
    this.linear = new Linear(hidden, vocabularySize)
  }

  /** @param ids [T,B], int32 */
  override forward(ids: Tensor, state?: CarriedState): Prediction {
    const input = this.embedding.forward(ids)
    const { rnn } = this
    if (rnn instanceof LSTM) {
      const { output, hn, cn } = rnn.forward(input, { h0: state?.h, c0: state?.c })
      return { logits: this.#classify(output), state: { h: hn, c: cn } }
    }
    const { output, hn } = rnn.forward(input, { h0: state?.h })
    return { logits: this.#classify(output), state: { h: hn } }
  }

  #classify(output: Tensor): Tensor {
    return this.linear.forward(this.dropout.forward(output))
  }
}

/** The shapes of a model's parameters, by name, before there is one: sizes may come from a file. */
export function modelShapes(vocabularySize: number, settings: ModelSettings): Map<string, number[]> {
  const { cell, embedding, hidden, layers } = settings
  const stack = { cell, I: embedding, H: hidden, layers, bidirectional: false, projSize: 0 }
  return new Map([
    ['embedding.weight', [vocabularySize, embedding]],
    ...[...parameterShapes(stack)].map(([name, shape]): [string, number[]] => [`rnn.${name}`, shape]),
    ['linear.weight', [vocabularySize, hidden]],
    ['linear.bias', [vocabularySize]],
  ])
}
