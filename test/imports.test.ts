/** The files of lib import each other in one direction only: no circle, and nothing from a level above their own. */
import { readdirSync, readFileSync } from 'node:fs'
import { posix } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

/** Lowest first. A file imports from its own level and from those below; a folder stands for all in it. */
const LEVELS: readonly (readonly string[])[] = [
  ['cells.ts', 'limits.ts', 'errors.ts', 'brand.ts', 'messages.ts'],
  ['root.ts', 'load.ts', 'enums.ts', 'binding.ts'],
  ['layout.ts', 'dtype.ts', 'check.ts', 'elements.ts', 'random.ts', 'runtime.ts', 'scope.ts', 'storage.ts'],
  ['tensor.ts', 'create.ts', 'state.ts'],
  ['anomaly.ts', 'autograd.ts', 'backward.ts'],
  ['ops/'],
  ['methods.ts'],
  ['nn/', 'optim/', 'decode/', 'io/', 'stream.ts', 'gradcheck.ts', 'reference/'],
  ['index.ts'],
  ['cli/'],
]

const levelsOf = (file: string): number[] =>
  LEVELS.flatMap((names, level) =>
    names.some((name) => (name.endsWith('/') ? file.startsWith(name) : file === name)) ? level : [],
  )

type Graph = ReadonlyMap<string, readonly string[]>

/**
 * The files that a file loads when it is loaded: all that it imports or re-exports from, but for `import type`,
 * `export type` and import(). One whose names are all types in braces counts: that import stays at run time.
 */
function importsOf(file: string, source: string): string[] {
  const statement =
    /^(?:import|export)\s+(?!type\b)(?:[^'"=();]*?\bfrom\s*)?(['"])(?<path>\.{1,2}\/[^'"]+)\1/gm
  return Array.from(source.matchAll(statement), (match) =>
    posix.join(posix.dirname(file), match.groups?.path ?? ''),
  )
}

/** Every circle that a walk in depth closes, as the names along it. */
function circlesOf(graph: Graph): string[] {
  const circles: string[] = []
  const done = new Set<string>()
  const visit = (file: string, path: readonly string[]): void => {
    const start = path.indexOf(file)
    if (start >= 0) circles.push([...path.slice(start), file].join(' -> '))
    if (start >= 0 || done.has(file)) return
    for (const next of graph.get(file) ?? []) visit(next, [...path, file])
    done.add(file)
  }
  for (const file of graph.keys()) visit(file, [])
  return circles
}

function climbsOf(graph: Graph): string[] {
  const level = (file: string) => levelsOf(file)[0] ?? Number.NaN
  return Array.from(graph, ([file, imports]) =>
    imports.filter((next) => !(level(next) <= level(file))).map((next) => `${file} -> ${next}`),
  ).flat()
}

const lib = fileURLToPath(new URL('../lib', import.meta.url))
const files = readdirSync(lib, { recursive: true, encoding: 'utf8' })
  .map((name) => name.replaceAll('\\', '/'))
  .filter((name) => name.endsWith('.ts'))
const graph: Graph = new Map(
  files.map((file) => [file, importsOf(file, readFileSync(`${lib}/${file}`, 'utf8'))]),
)

describe('the files of lib', () => {
  it('have a level each', () => {
    expect(files.filter((file) => levelsOf(file).length !== 1)).toEqual([])
  })

  it('import files that are there', () => {
    const found = [...graph.values()].flat()
    expect(found.length).toBeGreaterThan(files.length)
    expect(found.filter((file) => !graph.has(file))).toEqual([])
  })

  it('do not import each other in a circle', () => {
    expect(circlesOf(graph)).toEqual([])
  })

  it('import nothing from above', () => {
    expect(climbsOf(graph)).toEqual([])
  })
})

describe('the search', () => {
  it('finds what runs, and no types', () => {
    const source = `
import a from './a.ts'
import './b.ts'
import { c, type C } from '../c.ts'
import {
  d,
} from "./d.ts"
import * as e from './e.ts'
export * from './f.ts'
export { g } from './g.ts'
import type { H } from './h.ts'
export type { I } from './i.ts'
export type * from './j.ts'
import { readFileSync } from 'node:fs'
const k = await import('./k.ts')
export const l = './l.ts'
export function from(path = './m.ts') {}
`
    expect(importsOf('ops/x.ts', source)).toEqual([
      'ops/a.ts',
      'ops/b.ts',
      'c.ts',
      'ops/d.ts',
      'ops/e.ts',
      'ops/f.ts',
      'ops/g.ts',
    ])
  })

  it('finds circles and what climbs', () => {
    const wrong: Graph = new Map([
      ['tensor.ts', ['autograd.ts']],
      ['autograd.ts', ['ops/shape.ts', 'storage.ts']],
      ['ops/shape.ts', ['tensor.ts']],
      ['storage.ts', []],
    ])
    expect(circlesOf(wrong)).toEqual(['tensor.ts -> autograd.ts -> ops/shape.ts -> tensor.ts'])
    expect(climbsOf(wrong)).toEqual(['tensor.ts -> autograd.ts', 'autograd.ts -> ops/shape.ts'])
  })
})
