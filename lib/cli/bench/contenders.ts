/** How to start the contenders, and which of the peers are there. */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { promisify } from 'node:util'
import type { ContenderCommand } from './child.ts'
import { inPackage } from './package.ts'
import type { Peer, Report } from './report.ts'

/** A peer that is asked for and not there. */
export type Missing = Report['missing'][number]

/** @param isa the kernels to use; default: the best that the machine has */
export function ourselves(isa?: string): ContenderCommand {
  return {
    name: 'bptt',
    command: process.execPath,
    args: ['--expose-gc', inPackage('dist/cli/bench/contender.js')],
    ...(isa && { env: { BPTT_ISA: isa } }),
  }
}

/** @param python the interpreter to look for PyTorch in */
export async function findPeers(
  peers: readonly Peer[],
  python: string,
): Promise<{ found: ContenderCommand[]; missing: Missing[] }> {
  const found: ContenderCommand[] = []
  const missing: Missing[] = []
  for (const peer of peers) {
    const one = peer === 'torch' ? await findTorch(python) : findInstalled(peer)
    if ('command' in one) found.push(one)
    else missing.push(one)
  }
  return { found, missing }
}

async function findTorch(python: string): Promise<ContenderCommand | Missing> {
  const install = `${python} -m pip install torch --index-url https://download.pytorch.org/whl/cpu`
  try {
    await promisify(execFile)(python, ['-c', 'import torch'])
  } catch (error) {
    const { code, stderr } = error as { code?: unknown; stderr?: string }
    const reason =
      code === 'ENOENT'
        ? `there is no ${python}`
        : `${python} -c 'import torch' fails: ${lastLine(stderr ?? '')}`
    return { peer: 'torch', reason, install }
  }
  return { name: 'torch', command: python, args: [inPackage('bench/compare/pytorch.py')] }
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
  return { name: peer, command: process.execPath, args: [inPackage(`bench/compare/${peer}.mjs`)] }
}
