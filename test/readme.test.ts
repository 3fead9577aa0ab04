/** What the README and the examples show runs as it stands. */
import { execFile } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, describe, expect, it } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))
// Inside the repository, so that 'bptt' is the package itself.
mkdirSync(join(root, 'build'), { recursive: true })
const folder = mkdtempSync(join(root, 'build', 'readme-'))
afterAll(() => rmSync(folder, { recursive: true }))

const run = async (...args: string[]) =>
  (await promisify(execFile)(process.execPath, args, { cwd: root })).stdout

const readme = readFileSync(join(root, 'README.md'), 'utf8')
const blocks = [...readme.matchAll(/^```js\n([\s\S]*?)^```$/gm)].map(([, code]) => code as string)

describe('README', () => {
  it('has the two commands', () => {
    expect(readme).toContain('\nnpm ci && npm run demo\n')
    expect(readme).toContain('\nnpm ci && npm test\n')
  })

  it('has code, without `using`', () => {
    expect(blocks.length).toBeGreaterThanOrEqual(5)
    for (const block of blocks) expect(block).not.toMatch(/^\s*(await )?using /m)
  })

  it.each(blocks.map((block, i) => [i + 1, block] as const))('block %i runs', async (i, block) => {
    const path = join(folder, `block-${i}.mjs`)
    writeFileSync(path, block)
    const stdout = await run(path)
    // A comment behind console.log says what it prints, unless the result is random.
    for (const [, shown] of block.matchAll(/console\.log\(.*\) \/\/ (.*)$/gm)) {
      expect(stdout.replace(/[\s[\]]+/g, '')).toContain((shown as string).replace(/[\s[\]]+/g, ''))
    }
  })
})

describe('examples', () => {
  const names = readdirSync(join(root, 'examples')).filter((name) => name.endsWith('.mjs'))
  // Beside one program each in examples/, systems in folders of their own; these in their short form.
  const expected: Record<string, RegExp> = {
    'forecast.mjs': /next 24 hours: error 0\.\d+, of the last value repeated \d/,
    'streaming.mjs': /same bits as the whole sequence: true\n.*setState: true/,
    'text.mjs': /^The rain in Spain stays mainly in the plain\.$/m,
    'translate/dates.mjs': /^exact match: (9\d|100)\.\d+ %$/m,
  }

  it('are all known here', () =>
    expect(names.sort()).toEqual(Object.keys(expected).filter((name) => !name.includes('/'))))

  it.each(Object.keys(expected))('%s', async (name) => {
    const part = name.split('/')[0] as string
    cpSync(join(root, 'examples', part), join(folder, part), { recursive: true })
    const stdout = await run(join(folder, name), ...(name === part ? [] : ['--quick']))
    expect(stdout).toMatch(expected[name] as RegExp)
  })
})
