/** Finds and loads the native addon, or says what was looked for and how to build it. */
import { readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { BpttError, type ErrorCode } from './errors.ts'

const PLACE = `${process.platform}-${process.arch}`

/** The addon of the package at root. Throws ERR_BPTT_BINDING where no binary fits. */
export function loadAddon(root: string): unknown {
  const libc = process.platform === 'linux' ? permitted(libraryOfC) : undefined
  try {
    const fromPackage = createRequire(join(root, 'package.json'))
    // A search takes permissions to read files and the environment, loading what npm installed --allow-ffi alone.
    return (
      permitted(() => namingLibc(libc, () => fromPackage('node-gyp-build')(root))) ??
      fromPackage(`./${prebuild(process.platform === 'linux' ? 'glibc' : undefined)}`)
    )
  } catch (cause) {
    // The binary fits, but could not begin: there is no memory.
    const { code, message } = cause as { code?: ErrorCode; message: string }
    if (code?.startsWith('ERR_BPTT_')) throw new BpttError(code, message, { cause })
    throw new BpttError('ERR_BPTT_BINDING', explanation(root, libc, cause as Error), { cause })
  }
}

/** Undefined where Deno refuses it, for a permission that the program was not given. */
function permitted<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch (error) {
    if (/^(NotCapable|PermissionDenied)$/.test((error as Error).name)) return undefined
    throw error
  }
}

const prebuild = (libc: string | undefined): string => `prebuilds/${PLACE}/bptt${libc ? `.${libc}` : ''}.node`

/** By what this Node itself runs on: a system may have both installed. */
function libraryOfC(): string {
  if (process.env.LIBC) return process.env.LIBC
  const { report } = process as { report: { excludeNetwork?: boolean; getReport(): unknown } }
  const { excludeNetwork } = report
  report.excludeNetwork = true // it would look up names
  const { header } = report.getReport() as { header: { glibcVersionRuntime?: string } }
  report.excludeNetwork = excludeNetwork ?? false
  return header.glibcVersionRuntime ? 'glibc' : 'musl'
}

/** node-gyp-build takes every Linux but Alpine for one with glibc, unless LIBC tells it while it is loaded. */
function namingLibc<T>(libc: string | undefined, load: () => T): T {
  const { LIBC } = process.env
  if (!libc || LIBC) return load()
  process.env.LIBC = libc
  try {
    return load()
  } finally {
    if (LIBC === undefined) delete process.env.LIBC
    else process.env.LIBC = LIBC
  }
}

function explanation(root: string, libc: string | undefined, cause: Error): string {
  const home = permitted(() => process.env.BPTT_PREBUILD) || root
  const held = namesIn(join(home, 'prebuilds')).map(
    (folder) => `${folder} (${namesIn(join(home, 'prebuilds', folder)).join(', ')})`,
  )
  return [
    `no native build of bptt could be loaded on ${PLACE}${libc ? `, ${libc}` : ''}, Node ${process.version}: ${cause.message.trim()}`,
    `Looked for build/Release/*.node, build/Debug/*.node and ${prebuild(libc)} in ${home}, ` +
      `which has ${held.length > 0 ? `prebuilds for ${held.join(', ')}` : 'no prebuilds'}.`,
    ...(isBundled(root) ? [`It was bundled, and a binary cannot be. Mark bptt external: ${EXTERNAL}.`] : []),
    'To build from source (CMake 3.19, make and g++ 12 or Clang 14, or later): in a clone of the repository, at the same ' +
      'version, run `npm ci && npm run build`. A project that depends on bptt then sets BPTT_PREBUILD to the path of the clone.',
  ].join('\n')
}

const EXTERNAL =
  "`--external:bptt` or external: ['bptt'] with esbuild, Rollup, Rolldown and Bun, externals: { bptt: 'commonjs bptt' } " +
  "with webpack, ssr.external: ['bptt'] with Vite, serverExternalPackages: ['bptt'] with Next.js"

/** Whether this code lies in a folder that is not the package's. */
function isBundled(root: string): boolean {
  try {
    return JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).name !== 'bptt'
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT'
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).sort()
  } catch {
    return []
  }
}
