/** Suites and shapes are data in bench/*.json; here they become cases. */
import { readFileSync } from 'node:fs'
import { type CellName, UsageError } from '#internals'
import { describeCase, impossible, operations } from './cases.ts'
import { inPackage } from './package.ts'
import type { Case, Pass } from './report/report.ts'
import type { Settings } from './settings.ts'

export type Shape = Pick<Case, 'B' | 'T' | 'I' | 'H'>

/** Every combination of pass, cell and shape. */
export interface CaseGroup {
  pass: readonly Pass[]
  cells: readonly CellName[]
  /** Names of shapes or of groups of them; or a grid, in which I = H. */
  shapes?: readonly string[]
  grid?: { B: number[]; T: number[]; H: number[] }
  /** Leaves out calls of more floating-point operations. */
  maxOperations?: number
  layers?: number
  bidirectional?: boolean
  /** Size of the projection, or 'half' of H. Default none. */
  proj?: number | 'half'
  lengths?: Case['lengths']
  dtype?: Case['dtype']
  /** Time steps of one call, pass step. Default 1. */
  steps?: number
  busy?: boolean
}

export interface Suite extends Partial<Omit<Settings, 'device' | 'answerSeconds'>> {
  description: string
  /** Default: as many as bptt takes by itself. */
  threads?: number[]
  cases: CaseGroup[]
}

const readJson = (path: string): unknown => JSON.parse(readFileSync(inPackage(path), 'utf8'))

export const readSuites = (): Record<string, Suite> => readJson('bench/suites.json') as Record<string, Suite>

interface Shapes {
  shapes: Record<string, Shape>
  groups: Record<string, string[]>
}

export const readShapes = (): Shapes => readJson('bench/shapes.json') as Shapes

export function findSuite(name: string): Suite {
  const suites = readSuites()
  const suite = Object.hasOwn(suites, name) ? suites[name] : undefined
  if (!suite) throw new UsageError(`there is no suite ${name}; there are ${Object.keys(suites).join(', ')}`)
  return suite
}

/** Shapes written as `B,T,I,H`, or the name of one or of a group. */
export function findShapes(names: readonly string[]): Shape[] {
  const { shapes, groups } = readShapes()
  return names.flatMap((name) => {
    const numbers = /^\d+(,\d+){3}$/.test(name) ? name.split(',').map(Number) : []
    if (numbers.length === 4 && numbers.every((n) => n > 0 && n < 2 ** 31)) {
      const [B, T, I, H] = numbers as [number, number, number, number]
      return [{ B, T, I, H }]
    }
    const known = Object.hasOwn(groups, name) ? (groups[name] as string[]) : [name]
    return known.map((one) => {
      const shape = Object.hasOwn(shapes, one) ? shapes[one] : undefined
      if (shape) return shape
      const all = [...Object.keys(groups), ...Object.keys(shapes)].filter(
        (key, i, list) => list.indexOf(key) === i,
      )
      throw new UsageError(
        `${one} is no shape: write B,T,I,H (whole numbers from 1), or one of ${all.join(', ')}`,
      )
    })
  })
}

/** @throws UsageError for a case that makes no sense */
export function expand(groups: readonly CaseGroup[]): Case[] {
  const cases = groups.flatMap((group) => {
    const shapes = group.grid ? gridShapes(group.grid) : findShapes(group.shapes ?? [])
    return group.cells.flatMap((cell) =>
      group.pass.flatMap((pass) =>
        shapes
          .map((shape): Case => makeCase(group, pass, cell, shape))
          .filter((one) => operations(one) <= (group.maxOperations ?? Infinity)),
      ),
    )
  })
  for (const one of cases) {
    const reason = impossible(one)
    if (reason) throw new UsageError(`${describeCase(one)}: ${reason}`)
  }
  return cases
}

function makeCase(group: CaseGroup, pass: Pass, cell: CellName, { B, T, I, H }: Shape): Case {
  const { layers = 1, bidirectional = false, proj = 0, lengths = 'full', dtype = 'float32' } = group
  const { steps, busy } = group
  const projSize = proj === 'half' ? Math.max(1, Math.floor(H / 2)) : proj
  return {
    ...{ pass, cell, B, T, I, H, layers, bidirectional, projSize, lengths, dtype },
    ...(steps !== undefined && { steps }),
    ...(busy && { busy }),
  }
}

const gridShapes = ({ B, T, H }: { B: number[]; T: number[]; H: number[] }): Shape[] =>
  H.flatMap((h) => T.flatMap((t) => B.map((b) => ({ B: b, T: t, I: h, H: h }))))
