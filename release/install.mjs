// Installs the packed package in an empty folder, without scripts, as a user does, and runs the README's first
// example there: as an ES module, by require, by both, in a worker thread and bundled by esbuild. A program that has
// the package bundled in, by esbuild, Rollup or webpack, says what to do. publint and @arethetypeswrong/cli look at
// the tarball.
//
//   node release/install.mjs      needs `npm run build:ts`, a prebuild for this machine, and the npm registry
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { folder, npm, output, pack, project, writeExample } from './project.mjs'

const TOOLS = {
  esbuild: '0.28.2',
  rollup: '4.68.8',
  '@rollup/plugin-node-resolve': '16.0.3',
  webpack: '5.112.2',
  publint: '0.3.25',
  '@arethetypeswrong/cli': '0.18.5',
}

const tarball = pack()
const user = project('user', [tarball])
for (const name of ['binding.gyp', 'CMakeLists.txt', 'build'])
  if (existsSync(join(user, 'node_modules/bptt', name))) throw new Error(`${name} was installed`)
runsNoScript()
const programs = writeExample(user)
const expected = output(process.execPath, ['module.mjs'], user)
if (!/^20 [\d.]+\n/.test(expected)) throw new Error(`module.mjs printed ${expected}`)
for (const name of programs) printsTheSame(name)
console.log(`install: the README's first example prints the same ${programs.join(', ')}`)
const tools = installTools()
if (tools) {
  look('publint', 'publint', ['run', '--strict', tarball])
  look('attw', 'attw', [tarball])
  await bundles()
}

function printsTheSame(name) {
  if (output(process.execPath, [name], user) !== expected)
    throw new Error(`${name} printed something else than module.mjs`)
}

/** `npm ci` of a project that depends on the tarball calls no shell for a script; one with a script would. */
function runsNoScript() {
  const record = join(folder, 'scripts-that-ran')
  const shell = join(folder, 'shell')
  writeFileSync(shell, `#!/bin/sh\necho "$@" >>'${record}'\n`, { mode: 0o755 })
  npm(user, 'ci', `--script-shell=${shell}`)
  if (existsSync(record)) throw new Error(`npm ci ran a script: ${readFileSync(record, 'utf8')}`)
  const other = project('other', [], { scripts: { postinstall: 'true' } })
  npm(other, 'install', `--script-shell=${shell}`)
  if (!existsSync(record)) throw new Error('this check does not see scripts that run')
  console.log('install: npm ci ran no script')
}

/** Where the tools are; null, in words, where the registry does not give them. */
function installTools() {
  try {
    return project(
      'tools',
      Object.entries(TOOLS).map(([name, version]) => `${name}@${version}`),
    )
  } catch (error) {
    console.log(`install: skipped bundlers, publint and attw: ${error.message.split('\n')[0]}`)
    return null
  }
}

function look(name, program, parameters) {
  const { status, stdout, stderr } = spawnSync(join(tools, 'node_modules/.bin', program), parameters, {
    encoding: 'utf8',
    cwd: folder,
  })
  if (status !== 0) throw new Error(`${name} is not content:\n${stdout}${stderr}`)
  console.log(`install: ${name} is content`)
}

async function bundles() {
  const tool = createRequire(join(tools, 'package.json'))
  const entry = join(user, 'module.mjs')
  const out = (name) => join(user, 'out', name)
  const esbuild = (format, name, more) =>
    tool('esbuild').build({
      ...{ entryPoints: [entry], bundle: true, platform: 'node', logLevel: 'error' },
      ...{ format, outfile: out(name), supported: { 'top-level-await': true }, ...more },
    })
  await esbuild('esm', 'external.mjs', { external: ['bptt'] })
  printsTheSame('out/external.mjs')
  console.log("install: the README's first example, bundled with bptt external, prints the same")

  await esbuild('esm', 'esbuild.mjs')
  await esbuild('cjs', 'esbuild.cjs', { entryPoints: [join(user, 'required.cjs')] })
  const made = await tool('rollup').rollup({
    input: entry,
    logLevel: 'silent',
    external: /^node:/,
    plugins: [tool('@rollup/plugin-node-resolve').nodeResolve()],
  })
  await made.write({ file: out('rollup.mjs') })
  await promisify(tool('webpack'))({
    ...{ mode: 'production', target: 'node20', entry: join(user, 'required.cjs') },
    output: { path: out('.'), filename: 'webpack.cjs' },
  })
  // As deployed: without node_modules beside it.
  renameSync(join(user, 'node_modules'), join(user, 'not_node_modules'))
  for (const name of ['esbuild.mjs', 'esbuild.cjs', 'rollup.mjs', 'webpack.cjs']) {
    const { stderr } = spawnSync(process.execPath, [out(name)], { encoding: 'utf8' })
    if (!stderr.includes('ERR_BPTT_BINDING') || !stderr.includes('Mark bptt external'))
      throw new Error(`${name}, with bptt inside, said ${stderr}`)
  }
  console.log('install: bundled in by esbuild, Rollup and webpack, it says to be left out')
}
