import { ComfyAuthError } from '../errors.ts'

/** A monitoring plugin's range: alerts outside start..end, or with `@` inside, both ends included. */
export interface Range {
  readonly start: number
  readonly end: number
  readonly inside: boolean
}

const NUMBER = /^(-?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)(?: ?([A-Za-z%]+))?$/
const SIZES: Readonly<Record<string, number>> = {
  B: 1,
  kB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
}

/**
 * `10` (alert below 0 or above 10), `10:` (below 10), `~:10` (above 10), `10:20` (outside), `@10:20` (inside), as the
 * monitoring plugins' guidelines have them. A check in bytes also takes sizes: `4GiB:`. Throws `usage`.
 */
export function parseRange(text: string, unit: string): Range {
  const inside = text.startsWith('@')
  const parts = (inside ? text.slice(1) : text).split(':')
  if (parts.length > 2 || parts.every((part) => part === '')) throw notARange()
  const [first, last] = parts.length === 2 ? [parts[0]!, parts[1]!] : ['', parts[0]!]
  const start = first === '~' ? -Infinity : first === '' ? 0 : number(first, unit)
  const end = last === '' ? Infinity : number(last, unit)
  if (start > end) throw notARange()
  return { start, end, inside }
}

export function alerts(range: Range, value: number): boolean {
  const within = value >= range.start && value <= range.end
  return range.inside ? within : !within
}

/** The range in the plugins' own spelling and base units, as perfdata has it: 4 GiB and more is `4294967296:`. */
export function formatRange({ start, end, inside }: Range): string {
  const last = end === Infinity ? '' : plain(end)
  const first = start === -Infinity ? '~:' : start === 0 && last !== '' ? '' : `${plain(start)}:`
  return `${inside ? '@' : ''}${first}${last}`
}

/** What a value should be, in words, for people: "4 GiB or more". `show` words one number. */
export function wordRange(range: Range, show: (value: number) => string): string {
  const { start, end, inside } = range
  const span =
    end === Infinity
      ? start === -Infinity
        ? 'anything'
        : `${show(start)} or more`
      : start === -Infinity || start === 0
        ? `${show(end)} or less`
        : `from ${show(start)} to ${show(end)}`
  return inside ? `not ${span}` : span
}

/** Digits without an exponent, which perfdata readers do not all know. */
export function plain(value: number): string {
  const text = String(value)
  if (!text.includes('e')) return text
  return text.includes('e-') ? value.toFixed(12) : BigInt(value).toString()
}

function number(text: string, unit: string): number {
  const match = NUMBER.exec(text)
  const suffix = match?.[2] ?? ''
  const factor =
    suffix === '' || suffix === unit ? 1 : unit === 'B' && Object.hasOwn(SIZES, suffix) ? SIZES[suffix] : undefined
  const value = match && factor !== undefined ? Number(match[1]) * factor : Number.NaN
  if (!Number.isFinite(value)) throw notARange()
  return value
}

function notARange(): ComfyAuthError {
  return new ComfyAuthError('usage', 'That is not a range.', {
    remedy: 'Write 10, 10:, ~:10, 10:20 or @10:20; checks in bytes take sizes, as in 4GiB:.',
  })
}
