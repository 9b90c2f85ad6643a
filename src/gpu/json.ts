import { amount, measured, textIn } from './cell.ts'

export type JsonObject = Readonly<Record<string, unknown>>

/**
 * The first JSON document in a tool's output: warnings may stand before it, and some builds print it twice. undefined
 * where there is none that is whole.
 */
export function firstJson(text: string): unknown {
  for (const match of text.matchAll(/^\s*[[{]/gm)) {
    const start = match.index + match[0].length - 1
    const end = endOfJson(text, start)
    if (end === undefined) continue
    try {
      return JSON.parse(text.slice(start, end))
    } catch {} // a line that only looked like one: "[WARN] ..."
  }
  return undefined
}

function endOfJson(text: string, start: number): number | undefined {
  let depth = 0
  let quoted = false
  for (let i = start; i < text.length; i++) {
    const char = text[i]
    if (quoted) {
      if (char === '\\') i++
      else if (char === '"') quoted = false
    } else if (char === '"') quoted = true
    else if (char === '{' || char === '[') depth++
    else if ((char === '}' || char === ']') && --depth === 0) return i + 1
  }
  return undefined
}

export function asObject(value: unknown): JsonObject | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : undefined
}

export function asObjects(value: unknown): JsonObject[] {
  return Array.isArray(value)
    ? value.flatMap((entry): JsonObject[] => [asObject(entry)].filter((found) => found !== undefined))
    : []
}

/** The member of nested objects under `path`; undefined as soon as one is none ("N/A" stands in place of objects). */
export function at(value: unknown, ...path: readonly string[]): unknown {
  let here = value
  for (const name of path) {
    const object = asObject(here)
    if (!object || !Object.hasOwn(object, name)) return undefined
    here = object[name]
  }
  return here
}

/** A cell as text with its unit: a number, a numeric string, or `{"value":94,"unit":"%"}`. */
export function cellText(value: unknown): string | undefined {
  if (typeof value === 'number') return String(value)
  if (typeof value === 'string') return value
  const cell = asObject(value)
  if (!cell) return undefined
  const inner = cellText(cell.value)
  return inner === undefined ? undefined : `${inner} ${typeof cell.unit === 'string' ? unit(cell.unit) : ''}`
}

/** amd-smi's "MB" is MiB, and its degree sign is not ASCII. */
function unit(name: string): string {
  if (name === 'MB') return 'MiB'
  return name.endsWith('C') ? 'C' : name
}

export function measuredAt(value: unknown, ...path: readonly string[]): number | null {
  return measured(cellText(at(value, ...path)))
}

export function amountAt(value: unknown, ...path: readonly string[]): number | null {
  return amount(cellText(at(value, ...path)))
}

export function textAt(value: unknown, ...path: readonly string[]): string | null {
  return textIn(cellText(at(value, ...path))) ?? null
}
