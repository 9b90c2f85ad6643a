import { Config } from '@oclif/core/config'
import type { ErrorKind } from '../errors.ts'
import { completeBareFlags } from './bare-flags.ts'
import type { Command } from './command.ts'
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

const NOT_FIRST: Wording = {
  kind: 'usage',
  message: 'The command comes first, its flags behind it.',
  hint: 'See `comfy-auth --help`.',
}

/** Runs the command that argv names, or shows help. Returns the exit code, or the words for a command that does not exist. */
export async function dispatch(
  argv: readonly string[],
  { pjson, root, called }: { readonly pjson: Package; readonly root: string; readonly called: Called },
): Promise<number | Wording> {
  // No plugins: oclif would load what a package.json in the data folder names.
  const config = await Config.load({ root, pjson: pjson as never, userPlugins: false, devPlugins: false })
  const split = argv.indexOf('--')
  const head = split < 0 ? argv : argv.slice(0, split)
  const { id, words, rest } = splitCommand(head, config.commandIDs)

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
  const flags = Object.keys({ json: true, ...Loaded.baseFlags, ...Loaded.flags })
  const args = Object.keys(Loaded.args).map((name) => name.toUpperCase())
  called.known = { command: id.replaceAll(':', ' '), flags, args }
  called.exitCodes = Loaded.exitCodes
  const tail = split < 0 ? [] : argv.slice(split + 1)
  const own = completeBareFlags(rest, flags)
  const command = new Loaded(Loaded.takesPassthrough || split < 0 ? own : [...own, '--', ...tail], config)
  command.passthrough = tail
  called.command = command
  await command.execute()
  return command.exitCode
}
