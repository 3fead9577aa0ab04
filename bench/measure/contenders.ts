/** How to start the contenders, and which of the peers are there. */
import { type ExecFileException, execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { basename, resolve } from 'node:path'
import { promisify } from 'node:util'
import { inPackage } from '../package.ts'
import { ONE_THREAD, type Peer, type Report } from '../report/report.ts'
import type { ContenderCommand } from './child.ts'

/** A peer that is asked for and not there. */
export type Missing = Report['missing'][number]

/** @param isa the kernels to use; default: the best that the machine has */
export function ourselves(isa?: string): ContenderCommand {
  return {
    name: 'bptt',
    command: process.execPath,
    args: ['--expose-gc', inPackage('dist/bench/contender/contender.js')],
    ...(isa && { env: { BPTT_ISA: isa } }),
  }
}

/** With which a busy machine is compared: more threads shall not be slower. */
export const onOneThread = (ours: ContenderCommand): ContenderCommand => ({
  ...ours,
  name: ONE_THREAD,
  threads: 1,
})

/**
 * @param python the interpreter to look for PyTorch in
 * @param device a peer that computes on the CPU alone has no part on another
 */
export async function findPeers(
  peers: readonly Peer[],
  python: string,
  device = 'cpu',
): Promise<{ found: ContenderCommand[]; missing: Missing[] }> {
  const found: ContenderCommand[] = []
  const missing: Missing[] = []
  for (const peer of peers) {
    const one =
      peer === 'torch'
        ? await findTorch(python, device)
        : device === 'cpu'
          ? findInstalled(peer)
          : {
              peer,
              reason: `bptt bench runs it on the CPU alone, which has no part in ${device}`,
              install: null,
            }
    if ('command' in one) found.push(one)
    else missing.push(one)
  }
  return { found, missing }
}

/**
 * Peers run in a folder of the package and without the variables that name code to run: nothing of the folder that
 * `bptt bench` is called in may take part, such as a torch.py.
 */
const APART = {
  cwd: inPackage('bench/compare'),
  env: Object.fromEntries(
    ['NODE_OPTIONS', 'NODE_PATH', ...Object.keys(process.env).filter((name) => /^PYTHON/i.test(name))].map(
      (name) => [name, undefined],
    ),
  ),
}

const TORCH_WHEELS = 'https://download.pytorch.org/whl'
const NO_DEVICE = 3
const FIND_SECONDS = 120

async function findTorch(given: string, device: string): Promise<ContenderCommand | Missing> {
  // A name without a folder is looked for in PATH, any other from the folder of the call.
  const python = basename(given) === given ? given : resolve(given)
  const onCpu = device === 'cpu'
  // Of one version, the build for CUDA counts as the newer one.
  const install = onCpu
    ? `${python} -m pip install torch --index-url ${TORCH_WHEELS}/cpu`
    : `${python} -m pip install --upgrade torch --index-url ${TORCH_WHEELS}/cu130`
  // -I: no variables, and neither the script's folder nor the current one in the path of modules.
  const args = ['-I', inPackage('bench/compare/pytorch.py')]
  try {
    const env = { ...process.env, ...APART.env }
    const options = { cwd: APART.cwd, env, timeout: 1000 * FIND_SECONDS }
    await promisify(execFile)(python, [...args, 'find', onCpu ? 'cpu' : 'cuda'], options)
  } catch (error) {
    const { code, stdout, stderr, killed } = error as Partial<ExecFileException>
    if (code === NO_DEVICE)
      return { peer: 'torch', reason: `PyTorch ${stdout?.trim()} of ${python} sees no CUDA device`, install }
    const reason =
      code === 'ENOENT'
        ? `there is no ${python}`
        : killed
          ? `${python} did not import torch within ${FIND_SECONDS} seconds`
          : `${python} cannot import torch: ${lastLine(stderr || (error as Error).message)}`
    return { peer: 'torch', reason, install }
  }
  return { name: 'torch', command: python, args, ...APART }
}

const lastLine = (text: string): string => text.trimEnd().split('\n').at(-1) ?? ''

/** The peers that bench/compare/package.json names, and the package that each needs. */
const PACKAGES = { onnxruntime: 'onnxruntime-node', tfjs: '@tensorflow/tfjs' } as const

function findInstalled(peer: keyof typeof PACKAGES): ContenderCommand | Missing {
  const needed = PACKAGES[peer]
  const manifest = inPackage(`bench/compare/node_modules/${needed}/package.json`)
  if (!existsSync(manifest)) {
    return {
      peer,
      reason: `${needed} is not installed`,
      install: `npm install --prefix ${inPackage('bench/compare')}`,
    }
  }
  return { name: peer, command: process.execPath, args: [inPackage(`bench/compare/${peer}.mjs`)], ...APART }
}
