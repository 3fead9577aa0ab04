// Installs the packed package in an empty folder, without scripts, as a user does, and runs the README's first
// example there: as an ES module, by require, in a worker thread and bundled by esbuild. Then publint and
// @arethetypeswrong/cli look at the tarball.
//
//   node release/install.mjs      needs `npm run build:ts`, a prebuild for this machine, and the npm registry
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { root } from './targets.mjs'

const TOOLS = { esbuild: '0.28.2', publint: '0.3.25', '@arethetypeswrong/cli': '0.18.5' }

const folder = mkdtempSync(join(tmpdir(), 'bptt-install-'))
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
const npm = (directory, ...parameters) =>
  execFileSync('npm', [...parameters, '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: directory,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  })
const project = (name, manifest) => {
  const directory = join(folder, name)
  mkdirSync(directory)
  writeFileSync(join(directory, 'package.json'), JSON.stringify({ name, private: true, ...manifest }))
  return directory
}

const [{ filename }] = JSON.parse(
  npm(root, 'pack', '--json', '--ignore-scripts', '--pack-destination', folder),
)
const tarball = join(folder, filename)
const user = project('user', {})
npm(user, 'install', '--ignore-scripts', tarball)
for (const name of ['binding.gyp', 'CMakeLists.txt', 'build'])
  if (existsSync(join(user, 'node_modules/bptt', name))) throw new Error(`${name} was installed`)
runsNoScript()
const outputs = runExample(installTools())
console.log(`install: the README's first example prints the same ${outputs.join(', ')}`)

/** `npm ci` of a project that depends on the tarball calls no shell for a script; one with a script would. */
function runsNoScript() {
  const record = join(folder, 'scripts-that-ran')
  const shell = join(folder, 'shell')
  writeFileSync(shell, `#!/bin/sh\necho "$@" >>'${record}'\n`, { mode: 0o755 })
  npm(user, 'ci', `--script-shell=${shell}`)
  if (existsSync(record)) throw new Error(`npm ci ran a script: ${readFileSync(record, 'utf8')}`)
  const other = project('other', { scripts: { postinstall: 'true' } })
  npm(other, 'install', `--script-shell=${shell}`)
  if (!existsSync(record)) throw new Error('this check does not see scripts that run')
  console.log('install: npm ci ran no script')
}

/** Where esbuild, publint and attw are; null, in words, where the registry does not give them. */
function installTools() {
  const directory = project('tools', {})
  try {
    npm(directory, 'install', '--ignore-scripts', ...Object.entries(TOOLS).map(([name, v]) => `${name}@${v}`))
  } catch (error) {
    console.log(`install: skipped esbuild, publint and attw: ${error.message.split('\n')[0]}`)
    return null
  }
  const tool = (name) => join(directory, 'node_modules/.bin', name)
  // The package is ESM only, which require() takes on every Node that it runs on.
  look('publint', tool('publint'), ['run', '--strict', tarball])
  look('attw', tool('attw'), ['--profile', 'esm-only', tarball])
  return tool('esbuild')
}

function look(name, program, parameters) {
  const { status, stdout, stderr } = spawnSync(program, parameters, { encoding: 'utf8', cwd: folder })
  if (status !== 0) throw new Error(`${name} is not content:\n${stdout}${stderr}`)
  console.log(`install: ${name} is content`)
}

/** The ways that all printed the same. */
function runExample(esbuild) {
  const [, example] = /^```js\n([\s\S]*?)^```$/m.exec(readFileSync(`${root}README.md`, 'utf8'))
  const [imports, names, body] = /^import (\{[^}]*\}) from 'bptt'\n([\s\S]*)$/.exec(example)
  if (!imports) throw new Error("the README's first example does not begin with its import")
  const programs = {
    'module.mjs': example,
    'required.cjs': `const ${names} = require('bptt')\n;(async () => {\n${body}})()\n`,
    'worker.mjs':
      "import { Worker } from 'node:worker_threads'\nnew Worker(new URL('module.mjs', import.meta.url))\n",
  }
  for (const [name, text] of Object.entries(programs)) writeFileSync(join(user, name), text)
  if (esbuild) {
    execFileSync(
      esbuild,
      [
        'module.mjs',
        '--bundle',
        '--platform=node',
        '--format=esm',
        '--external:bptt',
        '--outfile=bundled.mjs',
      ],
      { cwd: user, stdio: ['ignore', 'ignore', 'pipe'] },
    )
    programs['bundled.mjs'] = ''
  }
  const run = (name) => execFileSync(process.execPath, [name], { cwd: user, encoding: 'utf8' })
  const expected = run('module.mjs')
  if (!/^20 [\d.]+\n/.test(expected)) throw new Error(`module.mjs printed ${expected}`)
  for (const name of Object.keys(programs))
    if (run(name) !== expected) throw new Error(`${name} printed something else than module.mjs`)
  return Object.keys(programs)
}
