import { ComfyAuthError, type ErrorKind } from '../errors.ts'
import { redact } from '../keys/format.ts'
import { WrappedError } from './input.ts'
import { KEY_IN_ARGV, looksLikeKey } from './key-in-argv.ts'
import { nearest } from './nearest.ts'

/** An error as it is shown: nothing in it comes from argv. */
export interface Wording {
  readonly kind: ErrorKind
  readonly message: string
  readonly hint: string
  /** For JSON alone. */
  readonly details?: Readonly<Record<string, string>>
}

/** What is known of the command that was called, for suggestions. */
export interface Known {
  /** As typed: `keys list`. */
  readonly command: string
  readonly flags: readonly string[]
  /** In upper case, as in its usage. */
  readonly args: readonly string[]
}

function usage(message: string, hint: string): Wording {
  return { kind: 'usage', message, hint }
}

function helpOf(known: Known): string {
  return `See \`comfy-auth ${known.command} --help\`.`
}

/** The words for arguments that no command takes. */
export function surplus(args: readonly string[], known: Known): Wording {
  if (args.some(looksLikeKey))
    return usage(`A key was given as an argument, and \`${known.command}\` takes none.`, KEY_IN_ARGV)
  const takes = known.args.length === 0 ? 'no argument' : `no more than ${known.args.join(' ')}`
  return usage(
    `${args.length === 1 ? 'An argument' : `${args.length} arguments`} too many: \`${known.command}\` takes ${takes}.`,
    helpOf(known),
  )
}

function unknownFlags(tokens: readonly string[], known: Known): Wording {
  const names = tokens.map((token) => token.replace(/=.*$/s, '').replace(/^-+/, ''))
  const meant = [...new Set(names.flatMap((name) => nearest(name, known.flags)))].map((name) => `--${name}`)
  if (names.some(looksLikeKey)) return usage('A key was given as an argument.', KEY_IN_ARGV)
  const message = `${tokens.length === 1 ? 'A flag' : `${tokens.length} flags`} that \`${known.command}\` does not know.`
  return usage(message, meant.length > 0 ? `Did you mean ${meant.join(' or ')}?` : helpOf(known))
}

/** No such command; `typed` is only compared, never shown. */
export function unknownCommand(typed: readonly string[], commands: readonly string[]): Wording {
  if (typed.some(looksLikeKey)) return usage('A key stands where a command should.', KEY_IN_ARGV)
  const meant = nearest(typed.slice(0, 2).join(' '), commands).concat(nearest(typed[0] ?? '', commands))
  const names = [...new Set(meant)].slice(0, 3).map((name) => `\`${name}\``)
  return usage(
    'There is no such command.',
    names.length > 0 ? `Did you mean ${names.join(' or ')}?` : 'See `comfy-auth --help`.',
  )
}

interface ParserError extends Error {
  readonly parse?: unknown
  readonly flags?: unknown
  readonly args?: unknown
}

function fromParser(error: ParserError, known: Known): Wording | undefined {
  const { flags, args } = error
  if (Array.isArray(flags) && flags.every((flag) => typeof flag === 'string')) return unknownFlags(flags, known)
  if (Array.isArray(args) && args.every((arg) => typeof arg === 'string')) return surplus(args, known)
  if (Array.isArray(args)) {
    const names = args
      .map((arg: { name?: string }) => (arg.name ?? '').toUpperCase())
      .filter((name) => known.args.includes(name))
    return usage(`${names.join(' and ')} ${names.length === 1 ? 'is' : 'are'} missing.`, helpOf(known))
  }
  const [, name, rest] = /^Flag --([a-z0-9-]+) (expects|can only be specified once)/.exec(error.message) ?? []
  if (name !== undefined && known.flags.includes(name)) {
    return usage(
      rest === 'expects' ? `--${name} needs a value.` : `--${name} was given twice, and can stand once.`,
      helpOf(known),
    )
  }
  return error.parse === undefined ? undefined : usage('These flags and arguments do not go together.', helpOf(known))
}

function isInterrupt(error: Error): boolean {
  return error.name === 'ExitPromptError' || (error.name === 'AbortError' && error.message.includes('SIGINT'))
}

/** Any error in our words. Those of oclif, of Node and of libraries are told by their kind: their own text may repeat argv. */
export function wordError(error: unknown, known: Known): Wording {
  const inner = error instanceof WrappedError ? error.inner : error
  if (inner instanceof ComfyAuthError) {
    return { kind: inner.kind, message: redact(inner.message), hint: redact(inner.remedy), details: inner.details }
  }
  if (inner instanceof Error) {
    if (isInterrupt(inner)) return { kind: 'interrupted', message: 'Interrupted.', hint: 'Run it again when you like.' }
    const parsed = fromParser(inner, known)
    if (parsed) return parsed
  }
  const code = inner instanceof Error && 'code' in inner && typeof inner.code === 'string' ? ` (${inner.code})` : ''
  const name = inner instanceof Error ? inner.constructor.name : typeof inner
  return {
    kind: 'internal',
    message: `comfy-auth itself failed: ${name}${code}.`,
    hint: 'Run it again with DEBUG=1 to see where, and report it.',
  }
}
