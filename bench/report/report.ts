/**
 * What a benchmark run says, as data: `bptt bench --json` writes a Report, the tables and the HTML page are
 * drawn from one, `--compare` reads an older one.
 */

import type { Stack } from '#internals'

export const PASSES = ['forward', 'train', 'step', 'ops', 'demo', 'decoder'] as const
export type Pass = (typeof PASSES)[number]

export const PEERS = ['torch', 'onnxruntime', 'tfjs'] as const
export type Peer = (typeof PEERS)[number]

/** The name of bptt itself as a contender that has one thread. */
export const ONE_THREAD = 'one thread'

/** One question put to every contender: a pass over one layer stack of one shape. */
export interface Case extends Stack {
  pass: Pass
  B: number // rows
  T: number // time steps
  lengths: 'full' | 'ragged' // ragged: uniform over 1..T, from a fixed seed
  dtype: 'float32' | 'float64'
  steps?: number // time steps of one call, pass step; default 1
  busy?: true // the JavaScript thread computes, too, while it waits
}

export interface Machine {
  cpu: string
  cores: number
  isa: string // of bptt's kernels
  node: string
  platform: string
  loadAverage: number // of one minute, at the start
  cuda?: string // driver, libraries and devices, where a device computed
}

/** What the machine can do, measured in the same run: its CPU, or the device that computed. */
export interface Limit {
  threads: number | null // null on a device
  gigaflops: number // CPU: fused multiply-adds of the ISA in use, two operations each; device: products of matrices
  gigabytesPerSecond: number // CPU: sums over a buffer far larger than the caches; device: its reads and writes
  dtype?: Case['dtype'] // of what was measured on a device
  matrix?: number // rows and columns of its matrices
  bytes?: number // of its buffer
}

export interface Spread {
  median: number
  p10: number
  p90: number
}

/** How one contender did in one case. */
export type Outcome =
  | {
      status: 'timed'
      seconds: Spread // of one call
      samples: number[] // seconds per call, in the order they were taken
      gigaflops: number | null // null where a count of operations says nothing
      shareOfLimit: number | null // of Limit.gigaflops at these threads, or of this device and dtype
      peakBytes?: number // most resident memory above that before the first call, where asked for
    }
  | { status: 'failed'; reason: string } // its result was wrong, or it ended: never timed
  | { status: 'unsupported'; reason: string }

/** Peer's time over ours, pair by pair: above 1 we are faster. */
export interface Ratio {
  median: number
  low: number // 95 % interval of the median
  high: number
  pairs: number
}

export interface Result {
  case: Case
  threads: number | null // null on a device
  device?: string // 'cpu' in reports that do not say
  operations: number // floating-point operations of one call
  outcomes: Record<string, Outcome> // by contender; 'bptt' is ours
  ratios: Record<string, Ratio> // by peer
}

export interface Report {
  format: 1
  version: string // of bptt
  date: string // ISO 8601
  command: string
  device?: string // cuda:<n>; 'cpu' in reports that do not say
  machine: Machine
  versions: Record<string, string> // contender -> version
  missing: { peer: string; reason: string; install: string | null }[] // null: nothing to install helps
  limits: Limit[]
  results: Result[]
}
