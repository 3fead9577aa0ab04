/** Finds and loads the native addon, or says what was looked for and how to build it. */
import { readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { BpttError, type ErrorCode } from './errors.ts'

/** The addon of the package at root. Throws ERR_BPTT_BINDING where no binary fits. */
export function loadAddon(root: string): unknown {
  const libc = process.platform === 'linux' ? libraryOfC() : undefined
  try {
    const fromPackage = createRequire(join(root, 'package.json'))
    return namingLibc(libc, () => fromPackage('node-gyp-build')(root))
  } catch (cause) {
    // The binary fits, but could not begin: there is no memory.
    const { code, message } = cause as { code?: ErrorCode; message: string }
    if (code?.startsWith('ERR_BPTT_')) throw new BpttError(code, message, { cause })
    throw new BpttError('ERR_BPTT_BINDING', explanation(root, libc, cause as Error), { cause })
  }
}

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
  const place = `${process.platform}-${process.arch}`
  const home = process.env.BPTT_PREBUILD || root
  const held = namesIn(join(home, 'prebuilds')).map(
    (folder) => `${folder} (${namesIn(join(home, 'prebuilds', folder)).join(', ')})`,
  )
  const bundled = isPackage(root)
    ? []
    : [
        `This code is not in the package bptt, so it was bundled, and a binary is not. Mark bptt external: ${EXTERNAL}.`,
      ]
  return [
    `no native build of bptt could be loaded on ${place}${libc ? `, ${libc}` : ''}, Node ${process.version}: ${cause.message.trim()}`,
    `Looked for build/Release/*.node, build/Debug/*.node and prebuilds/${place}/bptt${libc ? `.${libc}` : ''}.node in ${home}, ` +
      `which has ${held.length > 0 ? `prebuilds for ${held.join(', ')}` : 'no prebuilds'}.`,
    ...bundled,
    'To build from source (CMake 3.19, make and g++ 12 or Clang 14, or later): in a clone of the repository, at the same ' +
      'version, run `npm ci && npm run build`. A project that depends on bptt then sets BPTT_PREBUILD to the path of the clone.',
  ].join('\n')
}

const EXTERNAL =
  "`--external:bptt` or external: ['bptt'] with esbuild, Rollup, Rolldown and Bun, externals: { bptt: 'commonjs bptt' } " +
  "with webpack, ssr.external: ['bptt'] with Vite, serverExternalPackages: ['bptt'] with Next.js"

/** Whether the folder is that of this package: of a bundle it is not. */
function isPackage(root: string): boolean {
  try {
    return JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).name === 'bptt'
  } catch {
    return false
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).sort()
  } catch {
    return []
  }
}
