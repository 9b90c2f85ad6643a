import { Config } from '@oclif/core/config'
import type { ErrorKind } from '../errors.ts'
import { completeBareFlags } from './bare-flags.ts'
import type { Command } from './command.ts'
import { importCommand, isBuilt, quickConfig, readManifest, SILENT } from './quick-start.ts'
import { type Known, unknownCommand, type Wording } from './wording.ts'

export interface Package {
  readonly name: string
  readonly version: string
  readonly oclif: Readonly<Record<string, unknown>>
}

/** What was found out of the command line so far: main.ts words an error by it. */
export interface Called {
  known: Known
  exitCodes: Partial<Record<ErrorKind, number>>
  command: Command | undefined
}

type CommandClass = Pick<typeof Command, 'args' | 'flags' | 'baseFlags' | 'exitCodes' | 'takesPassthrough'> &
  (new (
    argv: string[],
    config: Config,
  ) => Command)

interface Split {
  readonly id: string | undefined
  /** All words before the first flag. */
  readonly words: readonly string[]
  readonly rest: readonly string[]
}

/** The longest run of leading words that names a command, and what stands behind it. */
export function splitCommand(argv: readonly string[], ids: readonly string[]): Split {
  const end = argv.findIndex((token) => token.startsWith('-'))
  const words = end < 0 ? argv : argv.slice(0, end)
  for (let length = Math.min(words.length, 4); length > 0; length--) {
    const id = words.slice(0, length).join(':')
    if (ids.includes(id)) return { id, words, rest: argv.slice(length) }
  }
  return { id: undefined, words, rest: argv }
}

/** `-h` and `help COMMAND` are what many type for `--help`. */
function askedInFull(argv: readonly string[]): readonly string[] {
  if (argv[0] === 'help') return [...argv.slice(1), '--help']
  return argv.map((token) => (token === '-h' ? '--help' : token))
}

/** Without plugins: oclif would load what a package.json in the data folder names. */
const PLAIN = { userPlugins: false, devPlugins: false, logger: SILENT }

const NOT_FIRST: Wording = {
  kind: 'usage',
  message: 'The command comes first, its flags behind it.',
  hint: 'See `comfy-auth --help`.',
}

interface Line {
  readonly pjson: Package
  readonly root: string
  readonly called: Called
}

/** Hands a command its words and runs it. */
async function run(
  Loaded: CommandClass,
  split: Split,
  tail: readonly string[],
  config: Config,
  called: Called,
): Promise<number> {
  const flags = Object.keys({ json: true, ...Loaded.baseFlags, ...Loaded.flags })
  const args = Object.keys(Loaded.args).map((name) => name.toUpperCase())
  called.known = { command: String(split.id).replaceAll(':', ' '), flags, args }
  called.exitCodes = Loaded.exitCodes
  const own = completeBareFlags(split.rest, flags)
  const command = new Loaded(Loaded.takesPassthrough || tail.length === 0 ? own : [...own, '--', ...tail], config)
  command.passthrough = tail
  called.command = command
  await command.execute()
  return command.exitCode
}

/** Runs the command that argv names, or shows help. Returns the exit code, or the words for a command that does not exist. */
export async function dispatch(argv: readonly string[], line: Line): Promise<number | Wording> {
  const { pjson, root, called } = line
  const end = argv.indexOf('--')
  const head = askedInFull(end < 0 ? argv : argv.slice(0, end))
  const tail = end < 0 ? [] : argv.slice(end + 1)

  const manifest = head.includes('--help') ? undefined : readManifest(root, pjson)
  if (manifest) {
    const split = splitCommand(head, Object.keys(manifest.commands))
    const found = split.id === undefined ? undefined : manifest.commands[split.id]
    if (split.id !== undefined && found) {
      const Loaded = (await importCommand(root, split.id, found.relativePath)) as CommandClass
      return await run(Loaded, split, tail, quickConfig(root, pjson), called)
    }
  }

  const ignoreManifest = !isBuilt(pjson) // it names the files of dist/
  const config = await Config.load({ root, pjson: pjson as never, ...PLAIN, ignoreManifest })
  const split = splitCommand(head, config.commandIDs)
  const { id, words } = split
  if (id === undefined && words.length > 0 && !config.findTopic(words.join(':'))) {
    const names = config.commands.filter(({ hidden }) => !hidden).map((command) => command.id.replaceAll(':', ' '))
    return unknownCommand(words, names)
  }
  if (id === undefined && head.slice(words.length).some((token) => token !== '--help' && token !== '--json'))
    return NOT_FIRST
  if (id === undefined || head.includes('--help')) {
    const { Help } = await import('./help.ts')
    await new Help(config, { stripAnsi: false }).showHelp(id === undefined ? [...words] : id.split(':'))
    return 0
  }
  const Loaded = (await config.findCommand(id, { must: true }).load()) as unknown as CommandClass
  return await run(Loaded, split, tail, config, called)
}
