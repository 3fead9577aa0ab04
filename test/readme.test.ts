/** What the README, the guides in docs and the examples show runs as it stands. */
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

const read = (path: string) => readFileSync(join(root, path), 'utf8')

/**
 * Blocks of `js` are whole programs and run; what shows a part, or needs what is not here (a GPU), is `ts`. A program
 * in another spelling would not be found, so there is none.
 */
function programsOf(path: string): string[] {
  const languages = [...read(path).matchAll(/^ *```(\S+)$/gm)].map(([, language]) => language as string)
  for (const one of languages) expect(['js', 'ts', 'sh', 'cmake', 'json']).toContain(one)
  return [...read(path).matchAll(/^```js\n([\s\S]*?)^```$/gm)].map(([, code]) => code as string)
}

const readme = read('README.md')
const pages = ['README.md', ...readdirSync(join(root, 'docs')).map((name) => `docs/${name}`)].filter((path) =>
  path.endsWith('.md'),
)
const programs = pages.flatMap((path) => programsOf(path).map((code, i) => ({ path, number: i + 1, code })))
const countOf = (path: string) => programs.filter((one) => one.path === path).length

describe('README', () => {
  it('has the two commands', () => {
    expect(readme).toContain('\nnpm ci && npm run demo\n')
    expect(readme).toContain('\nnpm ci && npm test\n')
  })
})

describe('programs', () => {
  it('are there, without `using`', () => {
    expect(countOf('README.md')).toBeGreaterThanOrEqual(6)
    expect(countOf('docs/decoding.md')).toBeGreaterThanOrEqual(2)
    for (const { code } of programs) expect(code).not.toMatch(/^\s*(await )?using /m)
  })

  it.each(programs)('$path, block $number', async ({ path, number, code }) => {
    const file = join(folder, `${path.replace(/\W/g, '-')}-${number}.mjs`)
    writeFileSync(file, code)
    const stdout = await run(file)
    // A comment behind console.log says what it prints, unless the result is random.
    for (const [, shown] of code.matchAll(/console\.log\(.*\) \/\/ (.*)$/gm)) {
      expect(stdout.replace(/[\s[\]]+/g, '')).toContain((shown as string).replace(/[\s[\]]+/g, ''))
    }
  })

  it('fail the test where one throws', async () => {
    const file = join(folder, 'throws.mjs')
    writeFileSync(file, "import { tensor } from 'bptt'\ntensor([1]).none()\n")
    await expect(run(file)).rejects.toThrow('none is not a function')
  })
})

describe('examples', () => {
  const names = readdirSync(join(root, 'examples')).filter((name) => name.endsWith('.mjs'))
  // Beside one program each in examples/, systems in folders of their own; these in their short form.
  const expected: Record<string, RegExp> = {
    'forecast.mjs': /next 24 hours: error 0\.\d+, of the last value repeated \d/,
    'speech/train.mjs':
      /likeliest path: wrong letters [0-4]\.\d+ %.*\n +beam search: +wrong letters [01]\.\d+ %/,
    'streaming.mjs': /same bits as the whole sequence: true\n.*setState: true/,
    'text.mjs': /^The rain in Spain stays mainly in the plain\.$/m,
    'translate/dates.mjs': /^exact match: (9\d|100)\.\d+ %$/m,
    'translate/pronounce.mjs': /^phoneme error rate [1-4]?\d\.\d+ %, word error rate \d+\.\d+ %$/m,
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
