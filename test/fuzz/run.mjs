/**
 * `npm run fuzz [-- COUNT [SEED]]`: runs every program of this folder, one after
 * another, with that count and seed. Each makes COUNT random cases from SEED,
 * prints one line of what it tried, and exits 1 with the case that failed, so
 * that the same seed shows it again. Exits 1 if any program does.
 */
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'

const [count = '2000', seed = String(Date.now() % 1e9)] = process.argv.slice(2)
const programs = readdirSync(import.meta.dirname).filter(
  (name) => name.endsWith('.mjs') && name !== 'run.mjs',
)
const failed = []
for (const program of programs.sort()) {
  console.log(`${program} ${count} ${seed}`)
  const { status } = spawnSync(process.execPath, ['--expose-gc', program, count, seed], {
    cwd: import.meta.dirname,
    stdio: 'inherit',
  })
  if (status !== 0) failed.push(program)
}
console.log(`${programs.length - failed.length} passed, ${failed.length} failed`)
if (failed.length > 0) {
  console.error(`failed with seed ${seed}: ${failed.join(', ')}`)
  process.exit(1)
}
