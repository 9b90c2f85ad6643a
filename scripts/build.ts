import { existsSync, globSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join, normalize } from 'node:path'
import { build } from 'esbuild'

// A file a command, and what they share in chunks, so that a command loads its own code and nothing else's.
// @oclif/core is bundled too: its 150 small files cost a start more than the rest of it (docs/decisions/0002).
const BUNDLED = ['@oclif/core', 'nanoid']
const { dependencies } = JSON.parse(readFileSync('package.json', 'utf8'))

const { metafile } = await build({
  entryPoints: ['src/cli/main.ts', ...globSync('src/commands/**/*.ts')],
  outdir: 'dist',
  outbase: 'src',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node22.22',
  external: Object.keys(dependencies).filter((name) => !BUNDLED.includes(name)),
  // CommonJS within ES modules asks for Node's modules by require.
  banner: {
    js: "import { createRequire as makeRequire } from 'node:module'; const require = makeRequire(import.meta.url);",
  },
  sourcemap: true,
  metafile: true,
  logLevel: 'warning',
})

/** The licences of all that was bundled, as they ask to come along. */
function licences(): string {
  const folders = Object.keys(metafile.inputs).map(
    (file) => /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file)?.[0],
  )
  return [...new Set(folders)]
    .filter((folder) => folder !== undefined)
    .sort()
    .map((folder) => {
      const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
      const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry))
      return `${name} ${version} (${license})\n\n${file ? readFileSync(join(folder, file), 'utf8').trim() : ''}\n`
    })
    .join(`\n${'-'.repeat(80)}\n\n`)
}

const LICENCES = join('dist', 'THIRD-PARTY-LICENCES.txt')
writeFileSync(LICENCES, licences())
const kept = new Set([...Object.keys(metafile.outputs), LICENCES].map(normalize))
for (const file of globSync('dist/**')) {
  if (existsSync(file) && statSync(file).isFile() && !kept.has(normalize(file))) rmSync(file)
}

await import('./manifest.ts') // what a start reads in place of all commands: always that of this build
