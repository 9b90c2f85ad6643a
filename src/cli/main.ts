import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Config } from '@oclif/core/config'
import { redact } from '../keys/format.ts'
import { dim, red } from './colour.ts'
import type { Command } from './command.ts'
import { EXIT_CODES } from './exit-codes.ts'
import { wantsJson } from './input.ts'
import { type Known, unknownCommand, type Wording, wordError } from './wording.ts'

interface Package {
  readonly name: string
  readonly version: string
  readonly oclif: Readonly<Record<string, unknown>>
}

function packageRoot(): string {
  for (let folder = import.meta.dirname; ; folder = dirname(folder)) {
    if (existsSync(join(folder, 'package.json'))) return folder
  }
}

export interface MainOptions {
  /** Where the commands are, from the package's folder; bin/dev.js takes ./src/commands. */
  readonly commands?: string
}

/** ComfyUI's flags whose value may be left out (oclif knows no such flag), and what they then mean there. */
const BARE: Readonly<Record<string, string>> = { '--listen': '0.0.0.0,::', '--enable-cors-header': '*' }

/** Gives `--listen` and `--enable-cors-header` the value ComfyUI takes where none stands. */
export function completeBareFlags(argv: readonly string[], flags: readonly string[]): string[] {
  return argv.map((token, index) => {
    const value = flags.includes(token.slice(2)) ? BARE[token] : undefined
    const next = argv[index + 1]
    return value !== undefined && (next === undefined || next.startsWith('-')) ? `${token}=${value}` : token
  })
}

/** The longest run of leading words that names a command, and what stands behind it. */
function splitCommand(
  argv: readonly string[],
  ids: readonly string[],
): { id: string | undefined; words: string[]; rest: string[] } {
  const end = argv.findIndex((token) => token.startsWith('-'))
  const words = end < 0 ? [...argv] : argv.slice(0, end)
  for (let length = Math.min(words.length, 4); length > 0; length--) {
    const id = words.slice(0, length).join(':')
    if (ids.includes(id)) return { id, words, rest: argv.slice(length) }
  }
  return { id: undefined, words, rest: [...argv] }
}

function print({ kind, message, hint }: Wording, json: boolean): void {
  if (json) process.stdout.write(`${JSON.stringify({ error: { code: kind, message, hint } }, null, 2)}\n`)
  else process.stderr.write(`${red('Error:', 'stderr')} ${message}\n${dim(hint, 'stderr')}\n`)
}

function printStack(error: unknown): void {
  if (!process.env.DEBUG) return
  const cause = error instanceof Error && error.cause instanceof Error ? `\nCaused by: ${error.cause.stack}` : ''
  process.stderr.write(`${redact(`${error instanceof Error ? error.stack : String(error)}${cause}`)}\n`)
}

async function dispatch(argv: readonly string[], pjson: Package, root: string, called: Called): Promise<number> {
  const { Config } = await import('@oclif/core/config')
  const config = await Config.load({ root, pjson: pjson as never })
  const split = argv.indexOf('--')
  const head = split < 0 ? argv : argv.slice(0, split)
  const names = config.commands.filter(({ hidden }) => !hidden).map(({ id }) => id.replaceAll(':', ' '))
  const { id, words, rest } = splitCommand(head, config.commandIDs)

  if (id === undefined && words.length > 0 && !config.findTopic(words.join(':'))) {
    print(unknownCommand(words, names), called.json)
    return EXIT_CODES.usage
  }
  if (id === undefined && head.some((token) => token.startsWith('-') && token !== '--help' && token !== '--json')) {
    print(
      { kind: 'usage', message: 'The command comes first, its flags behind it.', hint: 'See `comfy-auth --help`.' },
      called.json,
    )
    return EXIT_CODES.usage
  }
  if (id === undefined || head.includes('--help')) {
    const { Help } = await import('./help.ts')
    await new Help(config, { ...config.pjson.oclif.helpOptions, stripAnsi: false }).showHelp(id?.split(':') ?? words)
    return 0
  }

  const found = config.findCommand(id, { must: true })
  const Loaded = (await found.load()) as unknown as CommandClass
  const flags = Object.keys({ json: true, ...Loaded.baseFlags, ...Loaded.flags })
  called.known = {
    command: id.replaceAll(':', ' '),
    flags,
    args: Object.keys(Loaded.args).map((name) => name.toUpperCase()),
  }
  called.exitCodes = Loaded.exitCodes
  const tail = split < 0 ? [] : argv.slice(split + 1)
  const own = completeBareFlags(rest, flags)
  const kept = Loaded.takesPassthrough || split < 0 ? own : [...own, '--', ...tail]
  const command = new Loaded(kept, config)
  command.passthrough = tail
  called.command = command
  await command.execute()
  return command.exitCode
}

type CommandClass = Pick<typeof Command, 'args' | 'flags' | 'baseFlags' | 'exitCodes' | 'takesPassthrough'> &
  (new (
    argv: string[],
    config: Config,
  ) => Command)

interface Called {
  readonly json: boolean
  known: Known
  exitCodes: (typeof Command)['exitCodes']
  command: Command | undefined
}

/** Runs one command line and returns its exit code. All errors end here, in our words, and none repeats a value from argv. */
export async function main(argv: readonly string[], options: MainOptions = {}): Promise<number> {
  const root = packageRoot()
  const pjson = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Package
  if (argv.length === 1 && (argv[0] === '--version' || argv[0] === '-v')) {
    process.stdout.write(
      `${pjson.name} ${pjson.version} (${process.platform}-${process.arch}, Node ${process.version})\n`,
    )
    return 0
  }
  const used =
    options.commands === undefined ? pjson : { ...pjson, oclif: { ...pjson.oclif, commands: options.commands } }
  const called: Called = {
    json: wantsJson(argv),
    known: { command: '', flags: [], args: [] },
    exitCodes: {},
    command: undefined,
  }
  const codeOf = ({ kind }: Wording) => called.exitCodes[kind] ?? EXIT_CODES[kind]
  const fail = (error: unknown): number => {
    const wording = wordError(error, called.known)
    print(wording, called.json)
    printStack(error)
    return codeOf(wording)
  }
  process.once('uncaughtException', (error) => process.exit(fail(error)))
  process.on('SIGINT', () => {
    if (called.command?.handlesInterrupts || process.listenerCount('SIGINT') > 1) return
    process.exit(called.exitCodes.interrupted ?? EXIT_CODES.interrupted)
  })
  try {
    return await dispatch(argv, used, root, called)
  } catch (error) {
    const exit = (error as { code?: unknown; oclif?: { exit?: unknown } }).oclif?.exit
    if ((error as { code?: unknown }).code === 'EEXIT' && typeof exit === 'number') return exit
    return fail(error)
  }
}
