import { globSync, rmSync } from 'node:fs'
import { build } from 'esbuild'

// One bundle with a file a command, so that a command loads its own code and nothing else's.
rmSync('dist', { recursive: true, force: true })
await build({
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
  logLevel: 'warning',
})
