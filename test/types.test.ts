/** The declarations compile in a user's project: strict, without @types/node, with and without lib esnext.disposable. */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))

function compile(...options: string[]): string {
  const { stdout, stderr } = spawnSync(
    process.execPath,
    ['node_modules/typescript/bin/tsc', '-p', 'test/types/tsconfig.json', ...options],
    { cwd: root, encoding: 'utf8' },
  )
  return stdout + stderr
}

describe.each(['es2022', 'es2022,esnext.disposable'])('lib %s', (lib) => {
  it.each(['node16', 'nodenext'])('module %s', (module) => {
    expect(compile('--lib', lib, '--module', module)).toBe('')
  })

  it('moduleResolution bundler', () => {
    expect(compile('--lib', lib, '--module', 'esnext', '--moduleResolution', 'bundler')).toBe('')
  })
})

it('refuses what is wrong: the check can fail', () => {
  expect(compile('--lib', 'es5', '--module', 'nodenext')).toContain('error TS')
})
