/**
 * What `bptt bench` says to a contender and hears from it: one JSON object per line, a request on its standard
 * input, then its answer on its standard output. bench/compare/README.md describes it for those who write one.
 */
import type { Case } from '../report/report.ts'

/** Where a tensor lies in a data file: row-major, little-endian, of the case's type unless it says int32. */
export interface Place {
  shape: number[]
  offset: number // bytes
  dtype?: 'int32'
}

export type Places = Record<string, Place>

export interface PreparedCase extends Case {
  tensors: Places
  rows?: number[] // lengths of the rows, where they are ragged
  V?: number // size of the vocabulary, demo
}

export type Request =
  | {
      do: 'prepare'
      case: PreparedCase
      threads: number
      device: string
      data: string // file of the tensors
      out: string // file for the results
      check: boolean // whether to run the pass once and write the results
    }
  | { do: 'warm'; seconds: number; call?: string }
  | { do: 'time'; iterations: number; call?: string }
  | { do: 'memory'; iterations: number }
  // bptt's own alone; on a device the limits are those of a dtype
  | { do: 'limits'; threads: number; tries: number; seconds: number; device: string; dtype: Case['dtype'] }
  | { do: 'stop' }

export interface Ready {
  ready: true
  name: string
  version: string
  threads: number
  isa?: string // bptt's own
  results?: Places
}

export type Prepared = Ready | { unsupported: string }
export interface Timed {
  iterations: number
  seconds: number // of all iterations together
}
export interface MemoryUse {
  before: number // bytes resident
  peak: number
}
export interface MeasuredLimits {
  operations: number // per second
  bytes: number // per second
  matrix?: number // on a device: rows and columns of the matrices, and bytes of the buffer
  buffer?: number
}
