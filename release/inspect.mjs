// Whether a built addon may be shipped: the libraries it asks for, the oldest glibc that has all the
// symbols it names, the symbols it shows to others, what makes errors of memory hard to exploit, and for macOS the
// version and signature in the file.
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { cudaFile, prebuildFile } from './targets.mjs'

const LIBRARIES = {
  glibc:
    /^(libc\.so\.6|libm\.so\.6|libpthread\.so\.0|libdl\.so\.2|librt\.so\.1|ld-linux-(x86-64|aarch64)\.so\.\d)$/,
  musl: /^libc\.so$/,
  darwin: /^\/usr\/lib\/libSystem\.B\.dylib$/,
  win32: /^(KERNEL32\.dll|ntdll\.dll|api-ms-win-crt-[a-z0-9-]+\.dll)$/i,
}
// What Node calls, what C++ runtimes mark as replaceable by the program, and the linker's own marks in Mach-O.
const EXPORTS =
  /^_?(napi_register_module_v1|node_api_module_get_api_version_v1|_Z(nw|na|dl|da)\w*|__?(mh_dylib_header|_dso_handle))$/

/** In words, all that keeps the target's binary from being shipped. */
export function problemsOf(target, table) {
  return problemsOfFile(prebuildFile(target), target, table, EXPORTS, /napi_register_module_v1$/)
}

/** The same of its CUDA backend, which asks for no library of NVIDIA's: it opens them itself. */
export function problemsOfCuda(target, table) {
  const entrance = /^bptt_cuda_backend$/
  return problemsOfFile(cudaFile(target), target, table, entrance, entrance)
}

function problemsOfFile(file, target, { glibc, macos }, shown, entrance) {
  const { libraries, exports, words = [] } = READERS[target.platform](file, { glibc, macos, target })
  const allowed = LIBRARIES[target.libc ?? target.platform]
  const found = [
    ...libraries.filter((name) => !allowed.test(name)).map((name) => `asks for ${name}`),
    ...(libraries.length === 0 ? ['asks for no library: the C library is linked in'] : []),
    ...exports.filter((name) => !shown.test(name)).map((name) => `exports ${name}`),
    ...(exports.some((name) => entrance.test(name)) ? [] : ['does not export its entrance']),
    ...words,
  ]
  return found.map((problem) => `${basename(file)} ${problem}`)
}

const READERS = { linux: readElf, win32: readPe, darwin: readMachO }

const lines = (program, parameters) =>
  execFileSync(program, parameters, { encoding: 'utf8', maxBuffer: 1 << 26 }).split('\n')

const captured = (text, expression) =>
  text.map((line) => expression.exec(line)?.[1]).filter((name) => name !== undefined)

function readElf(file, { glibc, target }) {
  const machine = captured(lines('readelf', ['-h', file]), /Machine:\s+(.*)$/)[0]
  const wanted = { x64: 'Advanced Micro Devices X86-64', arm64: 'AArch64' }[target.arch]
  const symbols = lines('readelf', ['-W', '--dyn-syms', file])
  const newer = captured(symbols, /@GLIBC_([\d.]+)/).filter((version) => later(version, glibc))
  const segments = lines('readelf', ['-lW', file]).join('\n')
  const dynamic = lines('readelf', ['-dW', file]).join('\n')
  const names = symbols.join('\n')
  return {
    libraries: captured(lines('readelf', ['-d', file]), /\(NEEDED\).*\[(.*)\]/),
    exports: captured(symbols, /(?:GLOBAL|WEAK)\s+DEFAULT\s+\d+\s+([^\s@]+)/),
    words: [
      ...(machine === wanted ? [] : [`is for ${machine}`]),
      ...new Set(newer.map((version) => `asks for glibc ${version}, later than ${glibc}`)),
      ...(segments.includes('GNU_RELRO') && /BIND_NOW|\bNOW\b/.test(dynamic) ? [] : ['lacks full RELRO']),
      ...(/GNU_STACK.* RW /.test(segments) ? [] : ['has a stack that can be executed']),
      ...(/ RWE /.test(segments) ? ['has memory that is written and executed'] : []),
      ...(names.includes('__stack_chk_fail') ? [] : ['lacks the stack protector']),
      // musl has no such functions.
      ...(target.libc === 'musl' || /__\w+_chk\b/.test(names) ? [] : ['lacks FORTIFY_SOURCE']),
    ],
  }
}

/** Whether dotted version a is later than b. */
function later(a, b) {
  const [left, right] = [a, b].map((version) => version.split('.').map(Number))
  for (let i = 0; i < left.length; i++) if (left[i] !== (right[i] ?? 0)) return left[i] > (right[i] ?? 0)
  return false
}

function readPe(file) {
  const text = lines('objdump', ['-p', file])
  const start = text.findIndex((line) => line.includes('[Ordinal/Name Pointer] Table'))
  return {
    libraries: captured(text, /DLL Name: (.*)$/),
    exports: captured(text.slice(start + 1), /^\s+\[\s*\d+\]\s+(?:\+base\[\s*\d+\]\s+\w+\s+)?(\S+)$/),
    words: ['HIGH_ENTROPY_VA', 'DYNAMIC_BASE', 'NX_COMPAT']
      .filter((name) => !text.some((line) => line.trim() === name))
      .map((name) => `lacks ${name}`),
  }
}

// Names and numbers as in Apple's mach-o/loader.h; 64-bit, little-endian.
const LC = { symtab: 0x2, loadDylib: 0xc, codeSignature: 0x1d, buildVersion: 0x32 }
const ALLOW_STACK_EXECUTION = 0x20000
const N = { stab: 0xe0, type: 0x0e, external: 0x01, privateExternal: 0x10, undefined: 0 }

function readMachO(file, { macos, target }) {
  const bytes = readFileSync(file)
  const at = (offset) => bytes.readUInt32LE(offset)
  const text = (offset) => bytes.toString('latin1', offset, bytes.indexOf(0, offset))
  const machine = { 16777223: 'x64', 16777228: 'arm64' }[at(4)]
  const found = { libraries: [], exports: [], words: machine === target.arch ? [] : [`is for ${machine}`] }
  if (at(24) & ALLOW_STACK_EXECUTION) found.words.push('has a stack that can be executed')
  if (!bytes.includes('___stack_chk_fail')) found.words.push('lacks the stack protector')
  const seen = new Set()
  for (let i = 0, offset = 32; i < at(16); i++, offset += at(offset + 4)) {
    const command = at(offset)
    seen.add(command)
    if (command === LC.loadDylib) found.libraries.push(text(offset + at(offset + 8)))
    if (command === LC.symtab)
      found.exports.push(...exportedNames(at(offset + 8), at(offset + 12), at(offset + 16)))
    if (command === LC.buildVersion) {
      const minimum = `${at(offset + 12) >>> 16}.${(at(offset + 12) >>> 8) & 255}`
      if (minimum !== macos) found.words.push(`is for macOS ${minimum}, not ${macos}`)
    }
  }
  if (!seen.has(LC.buildVersion)) found.words.push('names no macOS version')
  if (machine === 'arm64' && !seen.has(LC.codeSignature))
    found.words.push('has no signature, which arm64 wants')
  return found

  function exportedNames(symbols, count, strings) {
    const names = []
    for (let i = 0; i < count; i++) {
      const entry = symbols + 16 * i
      const type = bytes[entry + 4]
      if (type & N.stab || !(type & N.external) || type & N.privateExternal) continue
      if ((type & N.type) !== N.undefined) names.push(text(strings + at(entry)))
    }
    return names
  }
}
