#!/usr/bin/env node
// Passes for a Python with PyTorch: `-c` imports nothing, a script is the fake contender that BENCH_FAKE says. With
// BENCH_FAKE='no device' that PyTorch sees no CUDA device.
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

if (process.argv[2] === '-c') {
  if (process.env.BENCH_FAKE === 'no device' && process.argv[3].includes('cuda')) {
    console.log('1.2.3')
    process.exit(3)
  }
} else {
  const fake = fileURLToPath(new URL('fake.mjs', import.meta.url))
  const child = spawn(process.execPath, [fake, 'torch', process.env.BENCH_FAKE ?? '', '1e-3'], {
    stdio: 'inherit',
  })
  child.on('close', (code) => process.exit(code ?? 1))
}
