/** Members whose values change from run to run or from machine to machine; their type is compared. */
const VOLATILE = new Set([
  'timestamp',
  'create_time',
  'execution_start_time',
  'execution_end_time',
  'size',
  'modified',
  'created',
  'ram_total',
  'ram_free',
  'vram_total',
  'vram_free',
  'torch_vram_total',
  'torch_vram_free',
  't',
  'm',
  'argv',
  'tooltip',
])
/** Lists of what is installed: the shape of one entry is compared, not which there are. */
const CATALOGUES = new Set([
  'comfy_package_versions',
  'traceback',
  'search_aliases',
  'entries',
  'list',
  'file_custom_nodes',
  'pips',
])
/** Values that hold a node's tensors or sources in words. */
const WORDS = new Set(['current_inputs', 'traceback'])

type Node = string | Node[] | { [key: string]: Node }

const TEMP = /_temp_[a-z]{5}_\d+_/g
const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g
const HEX32 = /^[0-9a-f]{32}$/
const PATHS = /(?:\/[\w.-]+)+\/(input|output|temp|user|models|datasets|custom_nodes)(?=\/|$)/g

function scalar(value: string): string {
  return value.replace(TEMP, '_temp_xxxxx_').replace(UUID, '<uuid>').replace(HEX32, '<hex>').replace(PATHS, '<base>/$1')
}

/** A value with what is volatile replaced by its type. Numbers keep whether they are written as integers. */
function masked(value: unknown, key: string): Node {
  if (WORDS.has(key))
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.keys(value).sort() : '<words>'
  if (typeof value === 'string') return VOLATILE.has(key) ? '<string>' : scalar(value)
  if (value instanceof Num) return VOLATILE.has(key) ? `<${value.kind}>` : value.text
  if (Array.isArray(value)) {
    if (VOLATILE.has(key)) return '<list>'
    const items = value.map((item) => masked(item, ''))
    if (CATALOGUES.has(key)) return [shapeOf(items[0] ?? '<nothing>')]
    // Python's sets come in any order.
    if (key === 'errors') return [...items].sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1))
    return items.every((item) => typeof item === 'string') && (key === 'executed' || key === 'current_outputs')
      ? [...items].sort()
      : items
  }
  if (typeof value === 'object' && value !== null) {
    if (CATALOGUES.has(key)) return '<catalogue>'
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [scalar(name), masked(item, name)]))
  }
  return String(value)
}

function shapeOf(node: Node): Node {
  if (typeof node === 'string') return '<string>'
  return Array.isArray(node)
    ? node.map(shapeOf)
    : Object.fromEntries(Object.entries(node).map(([key, item]) => [key, shapeOf(item)]))
}

class Num {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
  get kind(): string {
    return /[.e]/i.test(this.text) ? 'float' : 'int'
  }
}

function parse(text: string): unknown {
  return JSON.parse(text, ((_key: string, value: unknown, context?: { source: string }) =>
    typeof value === 'number' ? new Num(context?.source ?? String(value)) : value) as (
    key: string,
    value: unknown,
  ) => unknown)
}

/** JSON text with its volatile values masked, ready to be compared. */
export function maskJson(text: string): Node {
  return masked(parse(text), '')
}

/** The keys and types alone, for catalogues that differ by what is installed. */
export function shapeJson(text: string): Node {
  return shapeOf(masked(parse(text), ''))
}
