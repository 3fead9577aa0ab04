#!/usr/bin/env node
// What prebuildify calls in place of node-gyp: builds the addon by CMake with zig's Clang, for the target named by
// PREBUILD_PLATFORM, _ARCH and _LIBC, into build/Release of the working folder; with BPTT_PREBUILD_CUDA, the CUDA
// backend, too, which prebuildify takes along. cmake-js is left out because it decides by the machine it runs on what
// to link.
import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { availableParallelism } from 'node:os'
import { dirname } from 'node:path'
import { root, table } from './targets.mjs'
import { zig } from './zig.mjs'

const { PREBUILD_PLATFORM: platform, PREBUILD_ARCH: arch, PREBUILD_LIBC: libc } = process.env
const target = table.targets.find(
  (each) => each.platform === platform && each.arch === arch && (each.libc ?? libc) === libc,
)
if (!target) throw new Error(`release/targets.json has no target for ${platform}, ${arch}, ${libc}`)

const require = createRequire(import.meta.url)
const folderOf = (name) => dirname(require.resolve(`${name}/package.json`))
const headers = folderOf('node-api-headers')
const binary = `${process.cwd()}/cmake`
const withCuda = process.env.BPTT_PREBUILD_CUDA === '1'
const define = (settings) => Object.entries(settings).map(([name, value]) => `-D${name}=${value}`)
const cmake = (...parameters) =>
  execFileSync('cmake', parameters, {
    stdio: 'inherit',
    env: {
      ...process.env,
      ZIG_GLOBAL_CACHE_DIR: `${root}build/zig-cache`,
      ZIG_LOCAL_CACHE_DIR: `${root}build/zig-cache`,
    },
  })

// From nothing, as prebuildify asks; the C++ runtimes that zig builds stay in its cache.
rmSync(binary, { recursive: true, force: true })
cmake(
  ...['-S', root, '-B', binary, `--log-level=${withCuda ? 'STATUS' : 'WARNING'}`],
  ...define({
    CMAKE_TOOLCHAIN_FILE: `${root}release/zig.cmake`,
    BPTT_ZIG: zig(),
    BPTT_ZIG_TARGET: target.zig,
    CMAKE_JS_INC: `${headers}/include;${folderOf('node-addon-api')}`,
    ...(platform === 'win32' && { CMAKE_JS_NODELIB_DEF: `${headers}/def/node_api.def` }),
    // nvcc knows no zig.
    ...(withCuda && { BPTT_CUDA: 'ON', BPTT_CUDA_HOST_COMPILER: 'c++' }),
  }),
)
cmake(
  '--build',
  binary,
  '--target',
  ...(withCuda ? ['bptt', 'bptt_cuda'] : ['bptt']),
  '--parallel',
  process.env.BPTT_JOBS ?? String(availableParallelism()),
)

rmSync('build/Release', { recursive: true, force: true })
mkdirSync('build/Release', { recursive: true })
copyFileSync(`${binary}/bptt.node`, 'build/Release/bptt.node')
if (withCuda) copyFileSync(`${binary}/bptt_cuda.so`, 'build/Release/bptt_cuda.so')
