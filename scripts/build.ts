import { globSync, rmSync, statSync } from 'node:fs'
import { normalize } from 'node:path'
import { build } from 'esbuild'

// A file a command, and what they share in chunks, so that a command loads its own code and nothing else's.
const { metafile } = await build({
  entryPoints: ['src/cli/main.ts', ...globSync('src/commands/**/*.ts')],
  outdir: 'dist',
  outbase: 'src',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node22.22',
  packages: 'external',
  sourcemap: true,
  metafile: true,
  logLevel: 'warning',
})
const built = new Set(Object.keys(metafile.outputs).map(normalize))
for (const file of globSync('dist/**')) {
  if (!built.has(normalize(file)) && statSync(file).isFile()) rmSync(file)
}
