/** A Python float: 8.0 stays 8.0 when it is written again, where a JavaScript number would become 8. */
export class PyFloat {
  readonly value: number
  constructor(value: number) {
    this.value = value
  }
}

/** What a body may hold. Objects are Maps, so that node ids keep their order and no key is special. */
export type Json = null | boolean | number | bigint | string | PyFloat | Json[] | JsonMap
export type JsonMap = Map<string, Json>

/** What the simulator writes: the same, and plain objects of its own making. */
export type Writable =
  | null
  | boolean
  | number
  | bigint
  | string
  | PyFloat
  | readonly Writable[]
  | ReadonlyMap<string, Writable>
  | { readonly [key: string]: Writable | undefined }

/** Broken JSON: Python's JSONDecodeError, which some routes catch and others let become a 500. */
export class JsonError extends Error {}

const SPACE = /[ \t\n\r]*/y
const NUMBER = /(-?(?:0|[1-9]\d*))(\.\d+)?([eE][-+]?\d+)?/y
const CONSTANTS: readonly [string, Json][] = [
  ['true', true],
  ['false', false],
  ['null', null],
  ['NaN', new PyFloat(Number.NaN)],
  ['Infinity', new PyFloat(Number.POSITIVE_INFINITY)],
  ['-Infinity', new PyFloat(Number.NEGATIVE_INFINITY)],
]
const MAX_DEPTH = 900

/** Reads JSON as Python's json does: NaN passes, the last of equal keys wins, integers keep every digit, a BOM is an error. */
export function parseJson(text: string): Json {
  let at = 0

  const blank = () => {
    SPACE.lastIndex = at
    SPACE.exec(text)
    at = SPACE.lastIndex
  }

  function string(): string {
    const start = at
    at += 1
    for (;;) {
      const code = text.charCodeAt(at)
      if (Number.isNaN(code) || code < 0x20) throw new JsonError('unterminated string')
      at += code === 0x5c ? 2 : 1
      if (code === 0x22) break
    }
    try {
      return JSON.parse(text.slice(start, at)) as string
    } catch {
      throw new JsonError('invalid string')
    }
  }

  function number(): Json {
    NUMBER.lastIndex = at
    const found = NUMBER.exec(text)
    if (!found) throw new JsonError('expecting value')
    at = NUMBER.lastIndex
    if (found[2] !== undefined || found[3] !== undefined) return new PyFloat(Number(found[0]))
    const value = Number(found[0])
    return Number.isSafeInteger(value) ? value : BigInt(found[0])
  }

  function array(depth: number): Json[] {
    const out: Json[] = []
    at += 1
    blank()
    if (text[at] === ']') {
      at += 1
      return out
    }
    for (;;) {
      out.push(value(depth + 1))
      blank()
      const next = text[at++]
      if (next === ']') return out
      if (next !== ',') throw new JsonError('expecting , or ]')
    }
  }

  function object(depth: number): JsonMap {
    const out: JsonMap = new Map()
    at += 1
    blank()
    if (text[at] === '}') {
      at += 1
      return out
    }
    for (;;) {
      blank()
      if (text[at] !== '"') throw new JsonError('expecting a property name')
      const key = string()
      blank()
      if (text[at++] !== ':') throw new JsonError('expecting :')
      out.set(key, value(depth + 1))
      blank()
      const next = text[at++]
      if (next === '}') return out
      if (next !== ',') throw new JsonError('expecting , or }')
    }
  }

  function value(depth: number): Json {
    if (depth > MAX_DEPTH) throw new Error('maximum recursion depth exceeded')
    blank()
    const first = text[at]
    if (first === '{') return object(depth)
    if (first === '[') return array(depth)
    if (first === '"') return string()
    for (const [word, constant] of CONSTANTS) {
      if (text.startsWith(word, at)) {
        at += word.length
        return constant
      }
    }
    return number()
  }

  const result = value(0)
  blank()
  if (at !== text.length) throw new JsonError('extra data')
  return result
}

const NON_ASCII = /[\u007f-\uffff]/g

function quoted(text: string): string {
  return JSON.stringify(text).replace(NON_ASCII, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** Python's repr of a float: 1.0, 0.1, 1e-07, NaN. */
export function floatText(value: number): string {
  if (Number.isNaN(value)) return 'NaN'
  if (!Number.isFinite(value)) return value > 0 ? 'Infinity' : '-Infinity'
  const text = String(value)
  if (Number.isInteger(value) && Math.abs(value) < 1e16) return `${text}.0`
  const [mantissa, exponent] =
    (Math.abs(value) < 1e-4 && value !== 0) || Math.abs(value) >= 1e16 ? value.toExponential().split('e') : [text]
  if (exponent === undefined) return text
  const digits = exponent.replace(/^[-+]/, '').padStart(2, '0')
  return `${mantissa}e${exponent.startsWith('-') ? '-' : '+'}${digits}`
}

/** Writes JSON as Python's json.dumps does: a blank after `:` and `,`, everything beyond ASCII escaped. */
export function dumpJson(value: Writable): string {
  if (value === null) return 'null'
  switch (typeof value) {
    case 'string':
      return quoted(value)
    case 'number':
      return Number.isInteger(value) ? String(value) : floatText(value)
    case 'boolean':
    case 'bigint':
      return String(value)
  }
  if (value instanceof PyFloat) return floatText(value.value)
  if (Array.isArray(value)) return `[${value.map(dumpJson).join(', ')}]`
  const entries = value instanceof Map ? value : Object.entries(value)
  const parts: string[] = []
  for (const [key, item] of entries) if (item !== undefined) parts.push(`${quoted(String(key))}: ${dumpJson(item)}`)
  return `{${parts.join(', ')}}`
}

/** Python's truth of a value: null, false, 0, "", [] and {} are false. */
export function truthy(value: Json | undefined): boolean {
  if (value === undefined || value === null || value === false || value === 0 || value === '') return false
  if (value instanceof PyFloat) return value.value !== 0
  if (Array.isArray(value)) return value.length > 0
  return value instanceof Map ? value.size > 0 : true
}

/** Python's repr, as it stands in ComfyUI's messages. */
export function pyRepr(value: Json): string {
  if (value === null) return 'None'
  if (typeof value === 'boolean') return value ? 'True' : 'False'
  if (typeof value === 'string') {
    const quote = value.includes("'") && !value.includes('"') ? '"' : "'"
    const body = value.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('\r', '\\r').replaceAll('\t', '\\t')
    return quote + (quote === "'" ? body.replaceAll("'", "\\'") : body) + quote
  }
  if (value instanceof PyFloat) return floatText(value.value).replace('NaN', 'nan').replace('Infinity', 'inf')
  if (Array.isArray(value)) return `[${value.map(pyRepr).join(', ')}]`
  if (value instanceof Map) return `{${[...value].map(([key, item]) => `${pyRepr(key)}: ${pyRepr(item)}`).join(', ')}}`
  return String(value)
}

/** Python's str. */
export function pyStr(value: Json): string {
  return typeof value === 'string' ? value : pyRepr(value)
}

/** The number in a value, or undefined where it is none. */
export function asNumber(value: Json | undefined): number | undefined {
  if (typeof value === 'number') return value
  if (typeof value === 'bigint') return Number(value)
  return value instanceof PyFloat ? value.value : undefined
}
