// The package's bill of materials, dist/sbom.cdx.json (CycloneDX 1.5): what npm installs with it, and
// what is inside its files and no package: the C++ runtimes that the binaries link in, and the report page's chart.
//
//   node release/sbom.mjs      needs `npm run build:ts`
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { root, table } from './targets.mjs'

const sbom = JSON.parse(
  execFileSync('npm', ['sbom', '--sbom-format=cyclonedx', '--omit=dev', '--package-lock-only'], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  }),
)

const fromNpm = (name, where) => {
  const { version, license } = JSON.parse(readFileSync(`${root}node_modules/${name}/package.json`, 'utf8'))
  return part(name, version, license, `pkg:npm/${name.replace('@', '%40')}@${version}`, where)
}
const part = (name, version, license, purl, where) => ({
  'bom-ref': purl,
  type: 'library',
  name,
  version,
  scope: 'required',
  licenses: [license.includes(' ') ? { expression: license } : { license: { id: license } }],
  purl,
  properties: [{ name: 'bptt:inside', value: where }],
})

const zig = table.zig.version
const runtime = (name) =>
  part(name, `zig-${zig}`, 'Apache-2.0 WITH LLVM-exception', `pkg:generic/${name}@zig-${zig}`, 'prebuilds')
sbom.metadata.component.name = 'bptt' // npm names the folder
sbom.components.push(
  fromNpm('node-addon-api', 'prebuilds'),
  fromNpm('node-api-headers', 'prebuilds'),
  ...['libc++', 'libc++abi', 'libunwind', 'compiler-rt'].map(runtime),
  fromNpm('chart.js', 'dist/bench/report/page/chart.js'),
  fromNpm('@kurkle/color', 'dist/bench/report/page/chart.js'),
)
writeFileSync(`${root}dist/sbom.cdx.json`, `${JSON.stringify(sbom, null, 2)}\n`)
console.log(`sbom: ${sbom.components.length} components`)
