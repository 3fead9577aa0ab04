// The pinned zig, whose Clang compiles the prebuilt binaries: from PyPI, by pip, into build/zig-<version>. What is
// there already stays, and then no network is needed.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { root, table } from './targets.mjs'

/** The path of the program; throws an Error in words where it cannot be had. */
export function zig() {
  const { version, sha256 } = table.zig
  const folder = `${root}build/zig-${version}`
  const program = `${folder}/ziglang/zig`
  if (existsSync(program)) return program
  if (process.platform !== 'linux' || process.arch !== 'x64')
    throw new Error(`prebuilds are made on Linux x64, not on ${process.platform} ${process.arch}`)
  const part = `${folder}.part`
  rmSync(part, { recursive: true, force: true })
  mkdirSync(part, { recursive: true })
  writeFileSync(`${part}/requirements.txt`, `ziglang==${version} --hash=sha256:${sha256}\n`)
  console.log(`zig ${version}: from PyPI, 100 MB ...`)
  const pip = spawnSync(
    'python3',
    [
      ...['-m', 'pip', 'install', '--quiet', '--require-hashes', '--no-deps', '--only-binary=:all:'],
      ...['--disable-pip-version-check', '--requirement', `${part}/requirements.txt`, '--target', part],
    ],
    { encoding: 'utf8', stdio: ['ignore', 'inherit', 'pipe'] },
  )
  if (pip.status !== 0)
    throw new Error(
      `zig ${version} could not be installed by python3 -m pip: ${pip.error?.message ?? pip.stderr.trim()}`,
    )
  // Subcommands that CMake wants as programs.
  for (const name of ['ar', 'ranlib'])
    writeFileSync(`${part}/ziglang/zig-${name}`, `#!/bin/sh\nexec '${program}' ${name} "$@"\n`, {
      mode: 0o755,
    })
  rmSync(folder, { recursive: true, force: true })
  renameSync(part, folder)
  return program
}
