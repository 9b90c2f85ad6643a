import type { ArgInput, FlagInput } from '@oclif/core/interfaces'
import { ComfyAuthError } from '../errors.ts'
import { KEY_IN_ARGV, looksLikeKey } from './key-in-argv.ts'

const HELP = 'See `--help` of this command.'

function usage(message: string, remedy: string): ComfyAuthError {
  return new ComfyAuthError('usage', message, { remedy })
}

/** oclif puts words of its own around whatever a flag's parser throws; this keeps the error within. */
export class WrappedError extends Error {
  readonly inner: ComfyAuthError
  constructor(inner: ComfyAuthError) {
    super('wrapped')
    this.inner = inner
  }
}

export function environmentName(flag: string): string {
  return `COMFY_AUTH_${flag.toUpperCase().replaceAll('-', '_')}`
}

interface Limits {
  readonly min?: number
  readonly max?: number
}

/** oclif's own parsers repeat the value in their message; the same said without it. */
function withoutValue(subject: string, error: unknown, { min, max }: Limits): ComfyAuthError {
  if (error instanceof ComfyAuthError) return error
  const message = error instanceof Error ? error.message : ''
  if (message.startsWith('Expected an integer')) {
    const range = [min === undefined ? '' : ` from ${min}`, max === undefined ? '' : ` up to ${max}`].join('')
    return usage(`${subject} takes a whole number${range}.`, HELP)
  }
  if (message.startsWith('Expected a valid url'))
    return usage(`${subject} takes a URL.`, 'Write it as http://HOST:PORT.')
  if (/^No (file|directory) found/.test(message)) return usage(`${subject} names nothing that exists.`, HELP)
  return usage(`${subject} does not take this value.`, HELP)
}

type Parse = (input: never, context: never, options: never) => Promise<unknown>

/** Checks `options` here rather than in oclif, whose error would repeat the value. */
function within(subject: string, options: readonly unknown[] | undefined, parse: Parse): Parse {
  if (!options) return parse
  return async (input, context, self) => {
    if (!options.includes(input)) throw usage(`${subject} takes one of: ${options.join(', ')}.`, HELP)
    return await parse(input, context, self)
  }
}

function guard(subject: string, limits: Limits, parse: Parse): Parse {
  return async (input, context, self) => {
    try {
      return await parse(input, context, self)
    } catch (error) {
      throw new WrappedError(withoutValue(subject, error, limits))
    }
  }
}

/** A repeatable flag's environment variable is split at white space: oclif would take it as one value. */
function repeated(parse: Parse): Parse {
  return async (input, context, self) => {
    const { token } = context as { token?: unknown }
    if (token !== undefined) return await parse(input, context, self)
    const values = String(input).split(/\s+/).filter(Boolean) as never[]
    return await Promise.all(values.map((value) => parse(value, context, self)))
  }
}

/**
 * The flags as oclif's parser gets them: environment names filled in, values checked by our own words, and the relations
 * between flags taken out (checkRelations holds them, since oclif repeats values there too).
 */
export function preparedFlags(flags: FlagInput): FlagInput {
  return Object.fromEntries(
    Object.entries(flags).map(([name, flag]) => {
      const { options, ...rest } = flag as typeof flag & { options?: readonly string[] }
      const relations = { required: false, dependsOn: [], exclusive: [], exactlyOne: [], atLeastOne: [] }
      const guarded = guard(`--${name}`, flag as Limits, within(`--${name}`, options, flag.parse as Parse))
      const parse = flag.type === 'option' && flag.multiple ? repeated(guarded) : guarded
      const env = flag.env ?? environmentName(name)
      const off = flag.type === 'boolean' && !flag.allowNo && flag.default === undefined ? { default: false } : {}
      // Greedy, `--upstream A B` would take B, which is an argument too many.
      return [name, { ...rest, ...relations, ...off, multipleNonGreedy: true, env, parse }]
    }),
  ) as unknown as FlagInput
}

/** No argument of any command is a key. */
function noKey(parse: Parse): Parse {
  return async (input, context, self) => {
    if (looksLikeKey(input)) throw usage('A key was given as an argument.', KEY_IN_ARGV)
    return await parse(input, context, self)
  }
}

/** No argument is read from stdin by oclif: it would take it from the command that wants it, and wait for it. */
export function preparedArgs(args: ArgInput): ArgInput {
  return Object.fromEntries(
    Object.entries(args).map(([name, arg]) => {
      const { options, ...rest } = arg
      const subject = name.toUpperCase()
      const parse = guard(subject, {}, noKey(within(subject, options, arg.parse as Parse)))
      return [name, { ...rest, ignoreStdin: true, parse }]
    }),
  ) as ArgInput
}

function list(flags: readonly string[]): string {
  return flags.map((flag) => `--${flag}`).join(', ')
}

/** required, dependsOn, exclusive, exactlyOne and atLeastOne; a boolean that is off counts as absent. */
export function checkRelations(
  flags: FlagInput,
  given: Readonly<Record<string, unknown>>,
  fromDefault: ReadonlySet<string>,
): void {
  const present = new Set(
    Object.keys(given).filter((name) => given[name] !== undefined && given[name] !== false && !fromDefault.has(name)),
  )
  for (const [name, flag] of Object.entries(flags)) {
    const { required, dependsOn = [], exclusive = [], exactlyOne = [], atLeastOne = [] } = flag
    if (required && given[name] === undefined) throw usage(`--${name} is missing.`, HELP)
    const others = exactlyOne.filter((other) => present.has(other))
    if (exactlyOne.length > 0 && others.length !== 1) throw usage(`Exactly one of ${list(exactlyOne)} is needed.`, HELP)
    if (atLeastOne.length > 0 && !atLeastOne.some((other) => present.has(other))) {
      throw usage(`At least one of ${list(atLeastOne)} is needed.`, HELP)
    }
    if (!present.has(name)) continue
    const missing = dependsOn.filter((other) => !present.has(other))
    if (missing.length > 0) throw usage(`--${name} needs ${list(missing)} beside it.`, HELP)
    const clash = exclusive.find((other) => present.has(other))
    if (clash) throw usage(`--${name} and --${clash} cannot stand together.`, 'Give one of the two.')
  }
}

/** Whether errors shall be JSON too: asked before any flag is parsed. */
export function wantsJson(argv: readonly string[]): boolean {
  const end = argv.indexOf('--')
  const head = end < 0 ? argv : argv.slice(0, end)
  return head.includes('--json') || /^(1|true|yes|on)$/i.test(process.env.COMFY_AUTH_JSON ?? '')
}
