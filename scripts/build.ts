import { existsSync, globSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join, normalize } from 'node:path'
import { build, type Plugin } from 'esbuild'

// A file a command, and what they share in chunks, so that a command loads its own code and nothing else's.
// @oclif/core is bundled too: its 150 small files cost a start more than the rest of it (docs/decisions/0002).
const BUNDLED = ['@oclif/core', 'nanoid']
const { dependencies } = JSON.parse(readFileSync('package.json', 'utf8'))

/**
 * In @oclif/core's CommonJS, `const x_1 = require('y')` at the top of a file runs y at once, and so all of oclif and its
 * dependencies at every start. Here each is required when it is first used: `x_1` becomes `(x_1())`.
 */
function lazily(source: string): string {
  let lazy = source
  for (const [line, name, required] of source.matchAll(/^const (\w+_\d+) = (.*\brequire\("[^"]+"\)\)?);$/gm)) {
    const [before = '', after = ''] = lazy.split(line!)
    const called = (code: string) => code.replaceAll(new RegExp(`\\b${name}\\b`, 'g'), `(${name}())`)
    lazy = `${called(before)}let ${name}_; const ${name} = () => (${name}_ ??= ${required});${called(after)}`
  }
  return lazy
}

const lighterOclif: Plugin = {
  name: 'lighter-oclif',
  setup({ onLoad }) {
    onLoad({ filter: /@oclif\/core\/lib\/.*\.js$/ }, ({ path }) => ({ contents: lazily(readFileSync(path, 'utf8')) }))
    // It asks whether Linux runs in Windows, which nothing of ours wants to know, by running a program.
    onLoad({ filter: /node_modules\/wsl-utils\/index\.js$/ }, () => ({ contents: 'export const isWsl = false' }))
  },
}

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
  plugins: [lighterOclif],
  minifySyntax: true,
  minifyWhitespace: true, // less to read at a start; names stay, for stack traces
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
