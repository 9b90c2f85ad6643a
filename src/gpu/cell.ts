const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  '%': 1,
  W: 1,
  C: 1,
  B: 1,
  KiB: 1024,
  MiB: 1_048_576,
  GiB: 1_073_741_824,
}

/**
 * A number as GPU tools print it: `596 MiB` (to bytes), `23 %`, `26.20 W`, `43`; undefined for whatever else stands
 * there: empty, `N/A`, `[Not Supported]`, `ERR!`, `[GPU is lost]` and all that drivers may yet invent.
 */
export function numberIn(text: string): number | undefined {
  const match = /^(-?\d+(?:\.\d+)?)\s*([A-Za-z%]*)$/.exec(text.trim())
  const factor = match ? UNITS[match[2]!] : undefined
  if (!match || factor === undefined) return undefined
  const value = Number(match[1]) * factor
  return Number.isFinite(value) ? value : undefined
}

/** numberIn, with null for absent: what a field of a `Gpu` wants. */
export function measured(text: string | undefined): number | null {
  return text === undefined ? null : (numberIn(text) ?? null)
}

/** A number that cannot be below 0: a tool that prints -1 for memory or load measured nothing. */
export function amount(text: string | undefined): number | null {
  const value = measured(text)
  return value === null || value < 0 ? null : value
}

/** The driver has no such value for this GPU, in contrast to a value it failed to read. */
export function isNotOffered(text: string): boolean {
  return /^\[?(?:N\/A|Not Supported|Requested functionality has been deprecated)\]?$/i.test(text.trim())
}

/** A name, a UUID or a version; undefined where an absent token or an error stands in its place. */
export function textIn(text: string | undefined): string | undefined {
  const trimmed = text?.trim()
  if (!trimmed || /^\[.*\]$|^(?:N\/A|Not Supported|ERR!|none|null|unknown)$/i.test(trimmed)) return undefined
  return trimmed
}
