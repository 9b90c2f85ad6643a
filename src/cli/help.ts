import { Help as OclifHelp } from '@oclif/core/help'
import type { ErrorKind } from '../errors.ts'
import { EXIT_CODES } from './exit-codes.ts'
import { BROKEN_PIPE } from './output.ts'

const MEANINGS: Readonly<Record<ErrorKind, string>> = {
  internal: 'our own fault',
  usage: 'wrong usage or configuration, or stdout cannot be written',
  refused: "refused by ComfyUI's validation",
  failed: 'failed while running',
  unreachable: 'server unreachable, or not a ComfyUI',
  unauthorised: 'not authorised (401, 403)',
  timeout: 'timed out',
  interrupted: 'interrupted',
}

/** The table of exit codes as --help shows it. */
export function exitCodeRows(): [string, string][] {
  const rows = Object.entries(MEANINGS).map(([kind, meaning]): [string, string] => [
    String(EXIT_CODES[kind as ErrorKind]),
    meaning,
  ])
  return [['0', 'done'], ...rows, [String(BROKEN_PIPE), 'nobody reads what it prints (a closed pipe)']]
}

const ENVIRONMENT: [string, string][] = [
  ['COMFY_AUTH_HOME', "the folder of all our files, in place of the platform's own"],
  [
    'COMFY_AUTH_<FLAG>',
    'any flag that is not given: COMFY_AUTH_KEYRING for --keyring; several values with blanks between',
  ],
  ['COMFYUI_API_KEY', 'the key; COMFYUI_API_KEY_FILE names a file that holds it'],
  ['NO_COLOR', 'no colours'],
  ['DEBUG', 'where an error of ours came from'],
]

type CommandOfHelp = Parameters<OclifHelp['formatCommand']>[0]
type FlagOfHelp = NonNullable<CommandOfHelp['flags']>[string]

/** Its default behind the words, where the words do not name it as people write it (`30s` for 30000). */
function withDefaultLast(flag: FlagOfHelp): FlagOfHelp {
  if (flag.type !== 'option' || flag.default === undefined) return flag
  const { default: standard, description = '', ...rest } = flag
  return {
    ...rest,
    description: description.includes('[default: ') ? description : `${description} [default: ${standard}]`,
  }
}

/** The line breaks of a template literal are the source's: only an empty line begins a paragraph. */
function inParagraphs(text: string): string {
  return text.replaceAll(/(?<!\n)\n(?!\n)/g, ' ')
}

interface OwnCodes {
  readonly exitCodes?: Readonly<Record<string, number>>
  readonly exitCodeHelp?: [string, string][]
}

/** oclif's help, with defaults behind the words, paragraphs that are wrapped once, and the exit codes at its end. */
export class Help extends OclifHelp {
  override formatRoot(): string {
    return [super.formatRoot(), this.#list('ENVIRONMENT', ENVIRONMENT), this.#list('EXIT CODES', exitCodeRows())].join(
      '\n\n',
    )
  }

  override formatCommand(command: CommandOfHelp): string {
    const { exitCodes = {}, exitCodeHelp } = command as OwnCodes
    const help = super
      .formatCommand({
        ...command,
        flags: Object.fromEntries(Object.entries(command.flags).map(([name, flag]) => [name, withDefaultLast(flag)])),
        ...(command.description !== undefined && { description: inParagraphs(command.description) }),
      })
      .trimEnd()
    // A command with codes of its own and no table of them says them in its description.
    if (!exitCodeHelp && Object.keys(exitCodes).length > 0) return `${help}\n`
    return `${help}\n\n${this.#list('EXIT CODES', exitCodeHelp ?? exitCodeRows())}`
  }

  #list(title: string, rows: [string, string][]): string {
    return this.section(title, this.renderList(rows, { indentation: 2, stripAnsi: this.opts.stripAnsi ?? false }))
  }
}
