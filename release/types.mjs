// The declarations of the packed package compile in a strict project without @types/node (test/types), with the least
// TypeScript that the README names and later ones, in every way to resolve modules.
//
//   node release/types.mjs      needs `npm run build:ts` and the npm registry
import { cpSync } from 'node:fs'
import { join } from 'node:path'
import { output, pack, project } from './project.mjs'
import { root } from './targets.mjs'

const VERSIONS = ['5.0.4', '5.2.2', '5.4.5', '5.7.3', '5.9.3', '6.0.3', '7.0.2']
const LIBRARIES = ['es2022', 'es2022,esnext.disposable']
const RESOLUTIONS = [
  ['--module', 'node16'],
  ['--module', 'nodenext'],
  ['--module', 'esnext', '--moduleResolution', 'bundler'],
]

const user = project('user', [pack()], { type: 'module' })
cpSync(`${root}test/types`, user, { recursive: true })
cpSync(join(user, 'program.ts'), join(user, 'program.cts')) // as required

for (const version of VERSIONS) {
  const tsc = join(
    project(`typescript-${version}`, [`typescript@${version}`]),
    'node_modules/typescript/bin/tsc',
  )
  // esnext.disposable came with 5.2.
  const libraries = LIBRARIES.filter((name) => !name.includes(',') || !/^5\.[01]\./.test(version))
  for (const library of libraries)
    for (const options of RESOLUTIONS)
      output(process.execPath, [tsc, '-p', '.', '--lib', library, ...options], user)
  console.log(`types: TypeScript ${version}: ${libraries.join(' and ')}, ${RESOLUTIONS.length} resolutions`)
}
