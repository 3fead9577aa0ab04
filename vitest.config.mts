import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // On a machine with a GPU, too, tests see none but where they choose to.
    env: { BPTT_CUDA_LIBRARY: process.env.BPTT_CUDA_LIBRARY ?? 'none' },
    pool: 'forks',
    // Many tests wait for processes of their own.
    maxWorkers: '100%',
    // Tests that count live memory collect first.
    execArgv: ['--expose-gc'],
    // A machine may be busy with other test files.
    expect: { poll: { timeout: 10_000 } },
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
})
