#!/usr/bin/env node
// Passes for a Python with PyTorch: `-c` imports nothing, a script is the fake contender that BENCH_FAKE says.
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

if (process.argv[2] !== '-c') {
  const fake = fileURLToPath(new URL('fake.mjs', import.meta.url))
  const child = spawn(process.execPath, [fake, 'torch', process.env.BENCH_FAKE ?? '', '1e-3'], {
    stdio: 'inherit',
  })
  child.on('close', (code) => process.exit(code ?? 1))
}
