import { readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { Config } from '@oclif/core/config'

// oclif.manifest.json: what every command is called and takes, so that a start need not load them all.
// `--check` writes nothing and exits 1 where the file differs from the sources.

const root = resolve(import.meta.dirname, '..')
const file = join(root, 'oclif.manifest.json')
const pjson = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

/** Keys in order, so that the same commands give the same bytes on any machine; but the order of a command's arguments says something. */
function sorted(value: unknown, key?: string): unknown {
  if (Array.isArray(value)) return value.map((inner) => sorted(inner))
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value)
  if (key !== 'args') entries.sort(([a], [b]) => (a < b ? -1 : 1))
  return Object.fromEntries(entries.map(([name, inner]) => [name, sorted(inner, name)]))
}

async function manifest(): Promise<string> {
  const fromSources = { ...pjson, oclif: { ...pjson.oclif, commands: './src/commands' } }
  const config = await Config.load({ root, pjson: fromSources, ignoreManifest: true })
  const commands = config.commands.map(({ load: _load, ...command }) => {
    const built = ['dist', 'commands', ...command.id.split(':')]
    const relativePath = [...built.slice(0, -1), `${built.at(-1)}.js`]
    return [command.id, { ...command, isESM: true, relativePath }]
  })
  const whole = { version: pjson.version, commands: Object.fromEntries(commands) }
  return `${JSON.stringify(sorted(JSON.parse(JSON.stringify(whole))), null, 2)}\n`
}

process.on('warning', (warning) => {
  // A command that cannot be loaded is a warning to oclif, and would be missing from the file.
  if (warning.name.endsWith('Error')) process.exitCode = 1
})

const wanted = await manifest()
if (!process.argv.includes('--check')) writeFileSync(file, wanted)
else {
  let found = ''
  try {
    found = readFileSync(file, 'utf8')
  } catch {} // not there: stale
  if (found !== wanted) {
    console.error('oclif.manifest.json is stale: run `npm run manifest`.')
    process.exitCode = 1
  }
}
