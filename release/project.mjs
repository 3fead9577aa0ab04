// Projects that use the packed package, in one temporary folder, and what they run.
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { root } from './targets.mjs'

/** Gone when the program ends. */
export const folder = mkdtempSync(join(tmpdir(), 'bptt-project-'))
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))

export const npm = (directory, ...parameters) =>
  execFileSync('npm', [...parameters, '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: directory,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  })

/** The path of what `npm publish` would send. */
export function pack() {
  const [{ filename }] = JSON.parse(
    npm(root, 'pack', '--json', '--ignore-scripts', '--pack-destination', folder),
  )
  return join(folder, filename)
}

/** A new folder with a package.json and, without scripts, the packages. */
export function project(name, packages = [], manifest = {}) {
  const directory = join(folder, name)
  mkdirSync(directory)
  writeFileSync(join(directory, 'package.json'), JSON.stringify({ name, private: true, ...manifest }))
  if (packages.length > 0) npm(directory, 'install', '--ignore-scripts', ...packages)
  return directory
}

/** What a program prints; throws unless it ends well and silently on stderr. */
export function output(program, parameters, cwd) {
  const { status, stdout, stderr, error } = spawnSync(program, parameters, {
    cwd,
    encoding: 'utf8',
    env: { ...process.env, NO_COLOR: '1' },
  })
  if (status !== 0 || stderr !== '')
    throw new Error(`${[program, ...parameters].join(' ')}: ${error?.message ?? stderr}${stdout}`)
  return stdout
}

/** Writes the README's first example into the project: as an ES module, by require, both, and in a worker. */
export function writeExample(directory) {
  const [, example] = /^```js\n([\s\S]*?)^```$/m.exec(readFileSync(`${root}README.md`, 'utf8'))
  const [, names, body] = /^import (\{[^}]*\}) from 'bptt'\n([\s\S]*)$/.exec(example) ?? []
  if (!names) throw new Error("the README's first example does not begin with its import")
  const programs = {
    'module.mjs': example,
    'required.cjs': `const ${names} = require('bptt')\n;(async () => {\n${body}})()\n`,
    'both.mjs':
      "import * as imported from 'bptt'\nimport { createRequire } from 'node:module'\n" +
      "const required = createRequire(import.meta.url)('bptt')\n" +
      'for (const name of Object.keys(required)) if (required[name] !== imported[name]) throw new Error(name)\n' +
      `const ${names} = required\n${body}`,
    'worker.mjs':
      "import { Worker } from 'node:worker_threads'\nnew Worker(new URL('module.mjs', import.meta.url))\n",
  }
  for (const [name, text] of Object.entries(programs)) writeFileSync(join(directory, name), text)
  return Object.keys(programs)
}
