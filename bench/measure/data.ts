/** The numbers of a case: made once, written to a file that every contender reads. */
import { closeSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs'
import { directions, generator, outputSize, parameterShapes } from '#internals'
import { hasGradients, operationsPerStep, stackOfCase, VOCABULARY } from '../cases.ts'
import type { Case } from '../report/report.ts'
import type { Place, Places } from './protocol.ts'

export type Numbers = Float32Array | Float64Array | Int32Array

export interface Named {
  shape: number[]
  values: Numbers
}

/**
 * What is compared of a pass: the whole of what these rows computed in the first steps. The reference is a plain
 * loop, so a large shape cannot be computed in full. The gradient of the output is zero elsewhere: then every
 * gradient of a parameter depends on this part alone, though the contender computes the whole shape.
 */
export interface Sample {
  rows: number[]
  steps: number
}

export interface CaseData {
  sample: Sample
  tensors: Map<string, Named>
}

const MOST_ROWS = 8

/** @param budget floating-point operations that the reference may cost, about; at least one row is computed */
export function chooseSample(one: Case, budget: number): Sample {
  const { pass, B, T, bidirectional } = one
  const perStep = operationsPerStep(one) * (hasGradients(one) ? 3 : 1)
  const affordable = Math.max(4, Math.floor(budget / perStep))
  const count = Math.max(1, Math.min(B, MOST_ROWS, Math.floor(affordable / T)))
  // The last row, and others spread evenly before it.
  const rows = Array.from({ length: count }, (_, i) => Math.ceil(((i + 1) * B) / count) - 1)
  // What a step of a bidirectional layer computes depends on all steps, and that of a decoder on all it looks at.
  return { rows, steps: bidirectional || pass === 'decoder' ? T : Math.min(T, Math.ceil(affordable / count)) }
}

export function makeData(one: Case, sample: Sample): CaseData {
  const { B, T, I, H, pass, dtype } = one
  const tensors = new Map<string, Named>()
  const uniform = generator(1)
  const Kind = dtype === 'float32' ? Float32Array : Float64Array
  const add = (name: string, shape: number[], bound: number): void => {
    const values = new Kind(shape.reduce((product, size) => product * size, 1))
    // Numbers that float32 holds exactly, so that both types compute the same case.
    for (let i = 0; i < values.length; i++) values[i] = Math.fround((2 * uniform() - 1) * bound)
    tensors.set(name, { shape, values })
  }
  const bound = 1 / Math.sqrt(H)
  const demo = pass === 'demo'
  for (const [name, shape] of parameterShapes(stackOfCase(one)))
    add(demo ? `lstm.${name}` : name, shape, bound)
  if (demo) {
    add('embedding.weight', [VOCABULARY, I], 1)
    add('linear.weight', [VOCABULARY, H], bound)
    add('linear.bias', [VOCABULARY], bound)
    for (const name of ['ids', 'targets']) {
      const values = Int32Array.from({ length: T * B }, () => Math.floor(uniform() * VOCABULARY))
      tensors.set(name, { shape: [T, B], values })
    }
    return { sample, tensors }
  }
  add('x', [T, B, I], 1)
  if (pass === 'decoder') add('memory', [T, B, H], 1)
  if (hasGradients(one)) {
    const width = directions(one) * outputSize(one)
    const values = new Kind(T * B * width)
    for (let t = 0; t < sample.steps; t++)
      for (const b of sample.rows)
        for (let j = 0; j < width; j++) values[(t * B + b) * width + j] = Math.fround(2 * uniform() - 1)
    tensors.set('dy', { shape: [T, B, width], values })
  }
  return { sample, tensors }
}

/** Writes the tensors one after the other; returns where each lies. */
export function writeTensors(path: string, tensors: ReadonlyMap<string, Named>): Places {
  const places: Places = {}
  const file = openSync(path, 'w')
  try {
    let offset = 0
    for (const [name, { shape, values }] of tensors) {
      places[name] = { shape, offset, ...(values instanceof Int32Array && { dtype: 'int32' as const }) }
      const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
      for (let done = 0; done < bytes.length; ) {
        done += writeSync(file, bytes, done, bytes.length - done, offset + done)
      }
      offset = Math.ceil((offset + bytes.length) / 8) * 8
    }
    ftruncateSync(file, offset) // readers may map whole elements
  } finally {
    closeSync(file)
  }
  return places
}

/** Reads one tensor of the file. Throws if the file ends before it. */
export function readTensor(
  path: string,
  { shape, offset, dtype: kind }: Place,
  dtype: Case['dtype'],
): Numbers {
  const size = shape.reduce((product, length) => product * length, 1)
  const Kind = kind === 'int32' ? Int32Array : dtype === 'float32' ? Float32Array : Float64Array
  const values = new Kind(size)
  const bytes = new Uint8Array(values.buffer)
  const file = openSync(path, 'r')
  try {
    for (let done = 0; done < bytes.length; ) {
      const count = readSync(file, bytes, done, bytes.length - done, offset + done)
      if (count === 0) throw new Error(`${path} ends ${bytes.length - done} bytes early`)
      done += count
    }
  } finally {
    closeSync(file)
  }
  return values
}
