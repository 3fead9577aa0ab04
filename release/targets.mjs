// The platforms that the package holds a binary for: release/targets.json, read once for all programs here.
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('..', import.meta.url))
export const table = JSON.parse(readFileSync(new URL('targets.json', import.meta.url), 'utf8'))

/** The targets of these names, or all. */
export function targetsNamed(names) {
  const known = table.targets.map(({ name }) => name)
  const unknown = names.find((name) => !known.includes(name))
  if (unknown) throw new Error(`no target is named '${unknown}'; there are ${known.join(', ')}`)
  return table.targets.filter(({ name }) => names.length === 0 || names.includes(name))
}

/** Where a target's build happens: prebuildify's working folder, with a build/Release of its own. */
export const workingFolder = ({ name }) => `${root}build/release/${name}`

export const prebuildFolder = ({ platform, arch }) => `${root}prebuilds/${platform}-${arch}`

/** The file that node-gyp-build looks for. Linux ones are tagged: an untagged one would fit any C library. */
export const prebuildFile = (target) =>
  `${prebuildFolder(target)}/bptt${target.libc ? `.${target.libc}` : ''}.node`

/** The CUDA backend beside it, of a target that has one. */
export const cudaFile = (target) => `${prebuildFolder(target)}/bptt_cuda.so`
