/**
 * JSON that keeps each number's text. A seed above 2^53 loses digits as a JavaScript number, `8.0` becomes `8` (an
 * integer to a node that wants a float), and ComfyUI's Python writes NaN and Infinity, which JSON.parse refuses.
 * Own code on every Node: JSON.parse with `context.source` reads none of Python's tokens.
 */

/** A number as it was written: RFC 8259's form, or Python's NaN, Infinity, -Infinity. */
export interface JsonNumber {
  readonly source: string
}

/** Objects are Maps: the order of integer-like names (node ids) stays, and `__proto__` is a name like any other. */
export type Json = null | boolean | string | JsonNumber | readonly Json[] | JsonObject
export type JsonObject = ReadonlyMap<string, Json>

/** Deeper than any workflow, and far from the end of the stack. */
const MAX_DEPTH = 500

const NUMBER = /-?(?:Infinity|(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)|NaN/y
const BLANKS = /[ \t\n\r]*/y

/** What is wrong, and where. The text itself is not repeated. */
export class JsonSyntaxError extends Error {
  override readonly name = 'JsonSyntaxError'
  readonly line: number
  readonly column: number

  constructor(what: string, text: string, offset: number) {
    const before = text.slice(0, offset).split('\n')
    const line = before.length
    const column = before.at(-1)!.length + 1
    super(`${what} at line ${line}, column ${column}`)
    this.line = line
    this.column = column
  }
}

export function isNumber(value: Json | undefined): value is JsonNumber {
  return typeof value === 'object' && value !== null && 'source' in value
}

export function isObject(value: Json | undefined): value is JsonObject {
  return value instanceof Map
}

/** A number written as `text` (`8.0`, `18446744073709551615`, `NaN`), or undefined where it is none. */
export function numberFrom(text: string): JsonNumber | undefined {
  NUMBER.lastIndex = 0
  return NUMBER.exec(text)?.[0] === text ? { source: text } : undefined
}

/**
 * Reads one JSON document. Of equal names in one object the last counts, as Python has it; with `unique` they are an error.
 * @throws {JsonSyntaxError}
 */
export function parseJson(text: string, { unique = false }: { readonly unique?: boolean } = {}): Json {
  let at = 0

  function fail(what: string): never {
    throw new JsonSyntaxError(at >= text.length ? 'the text ends too early' : what, text, at)
  }
  function take(pattern: RegExp): string | undefined {
    pattern.lastIndex = at
    const found = pattern.exec(text)?.[0]
    at += found?.length ?? 0
    return found
  }
  function next(): string | undefined {
    take(BLANKS)
    return text[at]
  }
  function string(): string {
    let end = text.indexOf('"', at + 1)
    for (; end >= 0; end = text.indexOf('"', end + 1)) {
      let slashes = 0
      while (text[end - 1 - slashes] === '\\') slashes += 1
      if (slashes % 2 === 0) break // this quote is not escaped
    }
    try {
      const read = JSON.parse(text.slice(at, end + 1)) as string
      at = end + 1
      return read
    } catch {
      return fail('a string does not end, or holds a bad escape')
    }
  }
  function list(depth: number): Json[] {
    const items: Json[] = []
    at += 1
    if (next() === ']') at += 1
    else
      for (;;) {
        items.push(value(depth))
        const mark = next()
        if (mark !== ',' && mark !== ']') fail('expected "," or "]"')
        at += 1
        if (mark === ']') break
      }
    return items
  }
  function object(depth: number): Map<string, Json> {
    const members = new Map<string, Json>()
    at += 1
    if (next() === '}') at += 1
    else
      for (;;) {
        if (next() !== '"') fail('expected a name in double quotes')
        const start = at
        const name = string()
        if (unique && members.has(name)) throw new JsonSyntaxError('a name stands twice in one object', text, start)
        if (next() !== ':') fail('expected ":"')
        at += 1
        members.set(name, value(depth))
        const mark = next()
        if (mark !== ',' && mark !== '}') fail('expected "," or "}"')
        at += 1
        if (mark === '}') break
      }
    return members
  }
  function value(depth: number): Json {
    if (depth > MAX_DEPTH) fail('nested too deep')
    const first = next()
    if (first === '{') return object(depth + 1)
    if (first === '[') return list(depth + 1)
    if (first === '"') return string()
    for (const [word, meaning] of [
      ['true', true],
      ['false', false],
      ['null', null],
    ] as const) {
      if (!text.startsWith(word, at)) continue
      at += word.length
      return meaning
    }
    const source = take(NUMBER)
    return source === undefined ? fail('unexpected character') : { source }
  }

  const document = value(0)
  if (next() !== undefined) fail('unexpected text after the end')
  return document
}

/** Writes it back: numbers as they were, names in their order, no blanks. */
export function writeJson(value: Json): string {
  if (value === null || typeof value === 'boolean') return String(value)
  if (typeof value === 'string') return JSON.stringify(value)
  if (isNumber(value)) return value.source
  if (isObject(value))
    return `{${[...value].map(([name, item]) => `${JSON.stringify(name)}:${writeJson(item)}`).join(',')}}`
  return `[${(value as readonly Json[]).map(writeJson).join(',')}]`
}

/** As {@link writeJson}, over lines and indented by two, for people. */
export function writeJsonIndented(value: Json, indent = ''): string {
  const inner = `${indent}  `
  if (isObject(value) && value.size > 0) {
    const lines = [...value].map(([name, item]) => `${inner}${JSON.stringify(name)}: ${writeJsonIndented(item, inner)}`)
    return `{\n${lines.join(',\n')}\n${indent}}`
  }
  return writeJson(value)
}

function toPlain(value: Json): unknown {
  if (isNumber(value)) return Number(value.source)
  if (isObject(value)) {
    // defineProperty: a plain assignment to `__proto__` would set the prototype
    const plain: Record<string, unknown> = {}
    for (const [name, item] of value) {
      Object.defineProperty(plain, name, { value: toPlain(item), enumerable: true, writable: true, configurable: true })
    }
    return plain
  }
  return Array.isArray(value) ? value.map(toPlain) : value
}

/** A server's answer as plain values, where digits do not matter; Python's NaN is read. @throws {JsonSyntaxError} */
export function readAnswer(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return toPlain(parseJson(text))
  }
}
