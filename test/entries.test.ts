/** The ways into the package: import, require, a module system in a context of its own (as Jest's), and bundles. */
import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))
// Inside the repository, so that 'bptt' is the package itself.
mkdirSync(join(root, 'build'), { recursive: true })
const folder = mkdtempSync(join(root, 'build', 'entries-'))
afterAll(() => rmSync(folder, { recursive: true }))

function run(name: string, text: string) {
  const path = join(folder, name)
  writeFileSync(path, text)
  const { status, stdout, stderr } = spawnSync(process.execPath, [path], { encoding: 'utf8' })
  expect(stderr).toBe('') // Node warns where require() takes an ES module
  expect(status).toBe(0)
  return JSON.parse(stdout)
}

const REQUIRED = `
  const required = require('bptt')
  async function imported() { return import('bptt') }
`

describe('require and import', () => {
  it('give the same names and values: one library', () => {
    const { names, same } = run(
      'both.cjs',
      `${REQUIRED}
      imported().then((module) => {
        const names = [Object.keys(module), Object.keys(required)].map((list) => list.sort())
        console.log(JSON.stringify({ names, same: names[0].every((name) => module[name] === required[name]) }))
      })`,
    )
    expect(names[0]).toEqual(names[1])
    expect(names[0].length).toBeGreaterThan(40)
    expect(same).toBe(true)
  })

  it('share what they know: scopes, random numbers, errors', () => {
    const found = run(
      'shared.cjs',
      `${REQUIRED}
      imported().then((module) => {
        let inner
        required.tidy(() => { inner = module.tensor([1]) })
        const recorded = module.noGrad(() => required.ones([1], { requiresGrad: true }).neg().requiresGrad)
        required.manualSeed(7)
        const first = module.rand([1]).itemSync()
        module.manualSeed(7)
        const second = required.rand([1]).itemSync()
        let failure
        try { module.tensor([2]).backward() } catch (error) { failure = error instanceof required.BpttError }
        console.log(JSON.stringify([inner.disposed, recorded, first === second, failure]))
      })`,
    )
    expect(found).toEqual([true, false, true, true])
  })
})

it('trains in a context of its own, with the modules of Jest’s kind', () => {
  const found = run(
    'context.cjs',
    `
    const { readFileSync } = require('node:fs')
    const { createRequire } = require('node:module')
    const { dirname } = require('node:path')
    const vm = require('node:vm')
    const context = vm.createContext({ process, console, queueMicrotask })
    const loaded = new Map()
    function load(path) {
      if (loaded.has(path)) return loaded.get(path).exports
      const module = { exports: {} }
      loaded.set(path, module)
      const { resolve } = createRequire(path)
      const inner = (name) => (/^\\.{1,2}\\//.test(name) ? load(resolve(name)) : require(name))
      vm.compileFunction(readFileSync(path, 'utf8'), ['exports', 'require', 'module', '__filename', '__dirname'], {
        parsingContext: context,
        filename: path,
      })(module.exports, inner, module, path, dirname(path))
      return module.exports
    }
    const { Adam, GRU, mseLoss, randn, zeros, manualSeed } = load(require.resolve('bptt'))
    manualSeed(1)
    const gru = new GRU(2, 3)
    const optimizer = new Adam(gru.parameters(), { lr: 0.1 })
    const [x, y] = [randn([4, 2, 2]), zeros([4, 2, 3])]
    const losses = []
    ;(async () => {
      for (let i = 0; i < 20; i++) {
        const loss = mseLoss(gru.forward(x).output, y)
        optimizer.zeroGrad()
        loss.backward()
        optimizer.step()
        losses.push(await loss.item())
      }
      console.log(JSON.stringify(losses))
    })()`,
  )
  expect(found).toHaveLength(20)
  expect(found[19]).toBeLessThan(found[0] / 2)
})

describe('bundles', () => {
  it('have ES modules that run where they lie, for bundlers', () => {
    const found = run(
      'esm.mjs',
      `import { tensor } from ${JSON.stringify(join(root, 'dist/esm/index.js'))}
      console.log(JSON.stringify([...await tensor([1, 2]).add(1).data()]))`,
    )
    expect(found).toEqual([2, 3])
  })

  it('keep the methods of tensors when they drop what nobody names', async () => {
    const input = join(folder, 'methods.mjs')
    writeFileSync(
      input,
      `import { tensor } from 'bptt'
      console.log(tensor([1, 2]).add(1).dataSync().join())`,
    )
    // Vitest brings Vite, which brings Rolldown.
    let path = import.meta.url
    for (const name of ['vitest/package.json', 'vite/package.json', 'rolldown'])
      path = createRequire(path).resolve(name)
    const { rolldown } = await import(path)
    const made = await rolldown({
      input,
      platform: 'node',
      resolve: { conditionNames: ['module', 'import'] },
    })
    // Two folders below one of that name, where such a bundle looks for the binary.
    const project = mkdtempSync(join(folder, 'shaken-'))
    writeFileSync(join(project, 'package.json'), JSON.stringify({ name: 'bptt' }))
    const file = join(project, 'out/esm/methods.mjs')
    const { output } = await made.write({ file })
    expect(output[0].code).not.toContain('clipGradNorm')
    const env = { ...process.env, BPTT_PREBUILD: root }
    expect(execFileSync(process.execPath, [file], { encoding: 'utf8', env })).toBe('2,3\n')
  })

  it.each(['project', ''])('are told to leave the package out (%s)', (name) => {
    // What a bundler makes of the package is files elsewhere, in a project of another name or none.
    const project = mkdtempSync(join(folder, 'bundled-'))
    cpSync(join(root, 'dist/esm'), join(project, 'out/esm'), { recursive: true })
    if (name) writeFileSync(join(project, 'package.json'), JSON.stringify({ name }))
    const program = `import { zeros } from ${JSON.stringify(join(project, 'out/esm/index.js'))}
      try { zeros([1]) } catch (error) { console.log(error.code, error.message) }`
    const words = execFileSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' })
    expect(words).toMatch(/^ERR_BPTT_BINDING /)
    expect(words).toContain('Mark bptt external')
  })
})
