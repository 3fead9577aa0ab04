#!/usr/bin/env node
// Passes for a Python with PyTorch: `-I pytorch.py find` finds one, `-I pytorch.py` is the fake contender that BENCH_FAKE
// says. With BENCH_FAKE='no device' that PyTorch sees no CUDA device.
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const [isolated, , find, device] = process.argv.slice(2)
if (isolated !== '-I') {
  console.error('this Python takes code from anywhere')
  process.exit(1)
}
if (find) {
  console.log('1.2.3')
  if (process.env.BENCH_FAKE === 'no device' && device === 'cuda') process.exit(3)
} else {
  const fake = fileURLToPath(new URL('fake.mjs', import.meta.url))
  const child = spawn(process.execPath, [fake, 'torch', process.env.BENCH_FAKE ?? '', '1e-3'], {
    stdio: 'inherit',
  })
  child.on('close', (code) => process.exit(code ?? 1))
}
