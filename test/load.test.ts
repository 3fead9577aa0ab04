/** Finding the native addon: by what Node runs on, and in words where there is none. */
import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))
const place = `${process.platform}-${process.arch}`

// An installed package without a binary, in a folder of its own.
mkdirSync(join(root, 'build'), { recursive: true })
const folder = mkdtempSync(join(root, 'build', 'load-'))
afterAll(() => rmSync(folder, { recursive: true }))
cpSync(join(root, 'dist'), join(folder, 'dist'), { recursive: true })
cpSync(join(root, 'package.json'), join(folder, 'package.json'))
symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))

function load(environment: Record<string, string> = {}) {
  const program =
    `const { zeros } = await import(${JSON.stringify(join(folder, 'dist/index.js'))});` +
    'try { await zeros([1]).data(); console.log("loaded", process.env.LIBC ?? "no LIBC") }' +
    'catch (error) { console.log(error.code, error.message) }'
  return execFileSync(process.execPath, ['--input-type=module', '-e', program], {
    encoding: 'utf8',
    env: { ...process.env, LIBC: '', ...environment },
  })
}

describe('where there is no binary', () => {
  it('names the platform, the Node, what was looked for and the remedy', () => {
    const words = load()
    expect(words).toMatch(/^ERR_BPTT_BINDING /)
    for (const part of [`${place}, `, process.version, `prebuilds/${place}/`, folder, 'no prebuilds'])
      expect(words).toContain(part)
    expect(words).toContain('npm ci && npm run build')
    expect(words).toContain('BPTT_PREBUILD')
  })

  it('names the binaries that are there for others', () => {
    mkdirSync(join(folder, 'prebuilds/plan9-vax'), { recursive: true })
    writeFileSync(join(folder, 'prebuilds/plan9-vax/bptt.node'), '')
    expect(load()).toContain('prebuilds for plan9-vax (bptt.node)')
    rmSync(join(folder, 'prebuilds'), { recursive: true })
  })

  it('takes the binary of the clone that BPTT_PREBUILD names, and leaves the environment as it was', () => {
    expect(load({ BPTT_PREBUILD: root })).toMatch(/^loaded \s*$/)
  })
})

describe.runIf(process.platform === 'linux')('on Linux', () => {
  const release = join(root, 'build/Release')
  const addon = readdirSync(release).find((name) => name.endsWith('.node')) as string
  const put = (libc: string) => {
    const prebuilds = join(folder, 'prebuilds', place)
    rmSync(prebuilds, { recursive: true, force: true })
    mkdirSync(prebuilds, { recursive: true })
    cpSync(join(release, addon), join(prebuilds, `bptt.${libc}.node`))
  }
  const { glibcVersionRuntime } = (process.report.getReport() as { header: { glibcVersionRuntime?: string } })
    .header
  const [own, other] = glibcVersionRuntime ? ['glibc', 'musl'] : ['musl', 'glibc']

  it('loads the binary for the C library that Node runs on', () => {
    put(own)
    expect(load()).toMatch(/^loaded/)
  })

  it('does not load that of the other', () => {
    put(other)
    const words = load()
    expect(words).toContain(`${place}, ${own}`)
    expect(words).toContain(`bptt.${own}.node`)
    expect(words).toContain(`${place} (bptt.${other}.node)`)
  })

  it('lets LIBC decide', () => {
    put(other)
    expect(load({ LIBC: other })).toMatch(/^loaded/)
  })
})
