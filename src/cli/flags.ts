import { boolean, custom, string } from '@oclif/core/flags'
import { ComfyAuthError } from '../errors.ts'

export * as Args from '@oclif/core/args'
export * as Flags from '@oclif/core/flags'

function usage(message: string, remedy: string): ComfyAuthError {
  return new ComfyAuthError('usage', message, { remedy })
}

const UNIT_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 7 * 86_400_000,
}
const DURATION = /^(\d+(?:\.\d+)?)(ms|s|m|h|d|w)$/

/** A thousand years: from today on each such moment is a date that a keyring can hold. */
const LONGEST_MS = 365_000 * UNIT_MS.d!

/** Undefined where the text is no duration, or none that a number can hold. */
function durationOf(text: string): number | undefined {
  if (text === '0') return 0
  const parts = text.match(/\d+(?:\.\d+)?(?:ms|[smhdw])/g) ?? []
  const total = parts.reduce((sum, part) => {
    const [, amount, unit] = DURATION.exec(part)!
    return sum + Number(amount) * UNIT_MS[unit!]!
  }, 0)
  const ms = Math.round(total)
  return parts.length > 0 && parts.join('') === text && Number.isSafeInteger(ms) ? ms : undefined
}

/**
 * `90d`, `24h`, `10m`, `1.5s`, `500ms`, or several as in `1h30m`, and a bare `0`: milliseconds, whole, a thousand years at
 * most. Throws `usage`.
 */
export function parseDuration(text: string): number {
  const ms = durationOf(text)
  if (ms === undefined)
    throw usage('That is not a duration.', 'Write a number and its unit, as in 90d, 24h, 10m, 30s or 500ms.')
  if (ms > LONGEST_MS) throw usage('That is too long.', 'Write a duration of 365000d at most.')
  return ms
}

const UNIT_BYTES: Readonly<Record<string, number>> = {
  '': 1,
  B: 1,
  kB: 1e3,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  K: 2 ** 10,
  M: 2 ** 20,
  G: 2 ** 30,
  T: 2 ** 40,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
}

/** `4GiB`, `512MiB`, `1.5GB`, `100` (bytes): bytes, whole. Throws `usage`. */
export function parseSize(text: string): number {
  const [, amount, unit] = /^(\d+(?:\.\d+)?) ?([A-Za-z]*)$/.exec(text) ?? []
  const factor = unit === undefined ? undefined : Object.hasOwn(UNIT_BYTES, unit) ? UNIT_BYTES[unit] : undefined
  const bytes = Math.round(Number(amount) * (factor ?? Number.NaN))
  if (!Number.isSafeInteger(bytes))
    throw usage('That is not a size.', 'Write a number and its unit, as in 4GiB or 512MiB.')
  return bytes
}

const DAY = /^\d{4}-\d\d-\d\d$/
const MOMENT = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,3})?)?(Z|[+-]\d\d:\d\d)$/
/** The last date that a record can hold; beyond it years have more than four digits. */
const LAST_MS = Date.UTC(9999, 11, 31, 23, 59, 59, 999)

/** Of a text that DAY or MOMENT matches. */
function momentOf(text: string): Date {
  const day = text.slice(0, 10)
  const midnight = new Date(`${day}T00:00:00Z`)
  const date = new Date(text === day ? `${day}T23:59:59.999Z` : text)
  // Date rolls 2027-02-30 over to March.
  const rolled = Number.isNaN(midnight.getTime()) || !midnight.toISOString().startsWith(day)
  if (rolled || Number.isNaN(date.getTime())) throw usage('There is no such date.', 'Write it as 2027-01-31.')
  return date
}

/**
 * A duration from `now`, a bare date (the end of that day, UTC), or a moment with its zone, in the year 9999 at the latest.
 * Throws `usage`.
 */
export function parseExpiry(text: string, now: Date): Date {
  const isDate = DAY.test(text) || MOMENT.test(text)
  const ms = isDate ? momentOf(text).getTime() : durationOf(text)
  if (ms === undefined)
    throw usage('That is neither a duration nor a date.', 'Write 90d, 24h, or a date such as 2027-01-31.')
  if (ms > LAST_MS - (isDate ? 0 : now.getTime()))
    throw usage('That is too far away.', 'Leave it out for a key that never expires.')
  return new Date(isDate ? ms : now.getTime() + ms)
}

/** The parser's words, with the flag's name before them. */
async function named<T>(name: string, parse: () => T): Promise<T> {
  try {
    return parse()
  } catch (error) {
    if (!(error instanceof ComfyAuthError)) throw error
    throw usage(`--${name}: ${error.message.charAt(0).toLowerCase()}${error.message.slice(1)}`, error.remedy)
  }
}

/** Milliseconds. */
export const duration = custom<number>({
  helpValue: 'DURATION',
  parse: (input, _context, { name }) => named(name, () => parseDuration(input)),
})

/** Bytes. */
export const size = custom<number>({
  helpValue: 'SIZE',
  parse: (input, _context, { name }) => named(name, () => parseSize(input)),
})

/** ComfyUI's MB, 1,048,576 bytes each, a fraction too: bytes. */
export const megabytes = custom<number>({
  helpValue: 'MB',
  parse: async (input, _context, { name }) => {
    const bytes = Math.round(Number(input) * 2 ** 20)
    if (/^\d+(?:\.\d+)?$/.test(input) && bytes > 0 && Number.isSafeInteger(bytes)) return bytes
    throw usage(`--${name} is no number of MB.`, 'Write it as 500, or 0.5.')
  },
})

/** The moment something ends. */
export const expiry = custom<Date>({
  helpValue: 'DURATION|DATE',
  parse: (input, _context, { name }) => named(name, () => parseExpiry(input, new Date())),
})

/** Which keyring; the default is our own. */
export const keyring = () => string({ helpValue: 'FILE', description: 'another keyring than the default one' })

/** Where a new key goes: the same three flags for all that make one. */
export const keyOutput = {
  out: string({ helpValue: 'FILE', description: 'write the key to FILE, mode 0600, instead of to stdout, which is -' }),
  force: boolean({ dependsOn: ['out'], description: 'replace FILE where it exists' }),
  print: boolean({ dependsOn: ['out'], description: 'print the key too' }),
}

/** The file that --out names; undefined for stdout. */
export function fileOf(out: string | undefined): string | undefined {
  return out === '-' ? undefined : out
}
