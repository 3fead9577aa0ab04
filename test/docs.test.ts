/** What the documents name is there: files, headings, npm scripts. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))
const documents = [
  ...['.', 'docs'].flatMap((folder) =>
    readdirSync(join(root, folder)).flatMap((name) => (name.endsWith('.md') ? join(folder, name) : [])),
  ),
  'bench/compare/README.md',
  'test/cuda/README.md',
]

const read = (path: string) => readFileSync(join(root, path), 'utf8')

/** Without blocks of code. */
function prose(path: string): string {
  return read(path).replace(/^ *```[\s\S]*?^ *```$/gm, '')
}

/** The anchors that GitHub gives a document's headings. */
function anchors(path: string): Set<string> {
  const found = new Set<string>()
  for (const [, heading] of prose(path).matchAll(/^#+ (.*)$/gm)) {
    const text = (heading as string).replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').toLowerCase()
    const slug = text.replace(/[^\p{L}\p{N}\s_-]/gu, '').replace(/ /g, '-')
    let name = slug
    for (let i = 1; found.has(name); i++) name = `${slug}-${i}`
    found.add(name)
  }
  return found
}

/** Links to this repository that lead nowhere. */
function deadLinks(path: string, text: string): string[] {
  return [...text.matchAll(/\]\(([^)]+)\)/g)].flatMap(([, target]) => {
    if (/^[a-z]+:/.test(target as string)) return []
    const [file, anchor] = (target as string).split('#') as [string, string?]
    const at = file === '' ? path : relative(root, join(root, dirname(path), file))
    if (!existsSync(join(root, at))) return target as string
    return anchor === undefined || anchors(at).has(anchor) ? [] : (target as string)
  })
}

const generated = /^(build|dist|prebuilds|docs\/api)(\/|$)|node_modules/

/** Paths in backticks that are none; of a pattern, the folder counts. */
function deadPaths(text: string): string[] {
  const folders = readdirSync(root)
  return [...text.matchAll(/`(([\w.-]+)\/[^`\s]*)`/g)].flatMap(([, path, folder]) => {
    if (!folders.includes(folder as string) || generated.test(path as string)) return []
    const fixed = (path as string).replace(/[^/]*[<*].*/, '')
    return existsSync(join(root, fixed)) ? [] : (path as string)
  })
}

it('finds what is dead', () => {
  const text =
    '[a](docs/none.md) [b](README.md#none) [c](#bptt) `lib/none.ts` `lib/none/*.ts` `native/<cell>.h`'
  expect(deadLinks('README.md', text)).toEqual(['docs/none.md', 'README.md#none'])
  expect(deadPaths(text)).toEqual(['lib/none.ts', 'lib/none/*.ts'])
})

it.each(documents)('%s names what is there', (path) => {
  const text = prose(path)
  expect(deadLinks(path, text)).toEqual([])
  expect(deadPaths(text)).toEqual([])
  const { scripts } = JSON.parse(read('package.json'))
  for (const [, name] of read(path).matchAll(/\bnpm run ([\w:-]+)/g)) {
    expect(Object.keys(scripts)).toContain(name)
  }
})

it('the README leads to every guide', () => {
  for (const path of documents.filter((path) => path.startsWith('docs'))) {
    expect(read('README.md')).toContain(`- [${path}](${path})`)
  }
})
