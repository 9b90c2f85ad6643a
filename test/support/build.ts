import { execFileSync } from 'node:child_process'
import { existsSync, globSync, statSync } from 'node:fs'

/** Tests that start the command run dist/: built once a run, where a source is newer. */
export function setup(): void {
  const newest = Math.max(...globSync('src/**/*.ts').map((file) => statSync(file).mtimeMs))
  const built = 'dist/cli/main.js'
  if (!existsSync(built) || statSync(built).mtimeMs < newest) {
    execFileSync(process.execPath, ['scripts/build.ts'], { stdio: 'inherit' })
  }
}
