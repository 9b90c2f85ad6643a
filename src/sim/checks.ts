import { asNumber, type Json, type JsonMap, PyFloat, pyRepr, pyStr, truthy, type Writable } from './json.ts'
import type { InputSpec, NodeClass, NodeContext } from './nodes/types.ts'

export type NodeTable = ReadonlyMap<string, NodeClass>

/** One thing that is wrong with a node, as it stands in `node_errors`. */
export interface Problem {
  readonly type: string
  readonly message: string
  readonly details: string
  readonly extra_info: { readonly [key: string]: Writable }
}

/** A Python exception while a node is validated. */
class PyException extends Error {
  readonly type: string
  constructor(type: string, message: string) {
    super(message)
    this.type = type
  }
}

const TRACE = [
  '  File "/srv/comfyui/execution.py", line 1184, in validate_prompt\n    <source line>\n',
  '  File "/srv/comfyui/execution.py", line 933, in validate_inputs\n    <source line>\n',
]

/** A member of a node, where the node is an object and has it. */
export function field(node: Json | undefined, name: string): Json | undefined {
  return node instanceof Map ? node.get(name) : undefined
}

/** A missing key, in Python's words. */
function need(map: JsonMap, key: string): Json {
  const value = map.get(key)
  if (value === undefined) throw new PyException('KeyError', `'${key}'`)
  return value
}

/** Turns a widget's value into the type that its input has, as int(), float(), str() and bool() do. */
function convert(value: Json, type: string): Json {
  switch (type) {
    case 'INT': {
      if (typeof value === 'boolean') return value ? 1 : 0
      if (typeof value === 'string') {
        if (!/^\s*[-+]?\d+(_\d+)*\s*$/.test(value))
          throw new PyException('ValueError', `invalid literal for int() with base 10: ${pyRepr(value)}`)
        const big = BigInt(value.trim().replaceAll('_', '').replace(/^\+/, ''))
        return big >= BigInt(Number.MIN_SAFE_INTEGER) && big <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(big) : big
      }
      if (value instanceof PyFloat && Number.isFinite(value.value)) return Math.trunc(value.value)
      if (typeof value === 'number' || typeof value === 'bigint') return value
      throw new PyException(
        'TypeError',
        `int() argument must be a string, a bytes-like object or a real number, not '${typeName(value)}'`,
      )
    }
    case 'FLOAT': {
      if (typeof value === 'boolean') return new PyFloat(value ? 1 : 0)
      if (typeof value === 'string') {
        if (value.trim() === '' || Number.isNaN(Number(value)))
          throw new PyException('ValueError', `could not convert string to float: ${pyRepr(value)}`)
        return new PyFloat(Number(value))
      }
      const number = asNumber(value)
      if (number === undefined)
        throw new PyException(
          'TypeError',
          `float() argument must be a string or a real number, not '${typeName(value)}'`,
        )
      return new PyFloat(number)
    }
    case 'STRING':
      return pyStr(value)
    case 'BOOLEAN':
      return truthy(value)
    default:
      return value
  }
}

function typeName(value: Json): string {
  if (value === null) return 'NoneType'
  return value instanceof Map ? 'dict' : Array.isArray(value) ? 'list' : typeof value
}

const configOf = ([type, options]: InputSpec): Writable => [type, options ?? {}]

function outOfRange(value: Json, spec: InputSpec, name: string): Problem | undefined {
  const number = asNumber(value)
  if (number === undefined) return undefined
  for (const [bound, type, word] of [
    ['min', 'value_smaller_than_min', 'smaller than min'],
    ['max', 'value_bigger_than_max', 'bigger than max'],
  ] as const) {
    const limit = spec[1]?.[bound]
    if (typeof limit !== 'number' && typeof limit !== 'bigint') continue
    const exact =
      typeof value === 'bigint' || typeof limit === 'bigint'
        ? [BigInt(Math.trunc(number)), BigInt(limit)]
        : [number, limit]
    const given = typeof value === 'bigint' ? value : (exact[0] as number)
    const beyond = bound === 'min' ? given < (exact[1] as number) : given > (exact[1] as number)
    if (beyond) {
      return {
        type,
        message: `Value ${pyStr(value)} ${word} of ${limit}`,
        details: name,
        extra_info: { input_name: name, input_config: configOf(spec), received_value: value },
      }
    }
  }
  return undefined
}

interface Result {
  readonly valid: boolean
  readonly problems: readonly Problem[]
}

/** Walks from an output to all that it needs, as ComfyUI's validate_inputs does; results are kept from one output to the next. */
export function createChecks(prompt: JsonMap, nodes: NodeTable, folders: NodeContext['folders']) {
  const results = new Map<string, Result>()
  const visiting: string[] = []

  function cycle(id: string): Result {
    const way = [...visiting.slice(visiting.indexOf(id)), id]
    const members = [...new Set(way)]
    const details = way.map((node) => `${node} (${pyStr(field(prompt.get(node), 'class_type') ?? null)})`).join(' -> ')
    for (const member of members) {
      results.set(member, {
        valid: false,
        problems: [
          {
            type: 'dependency_cycle',
            message: 'Dependency cycle detected',
            details,
            extra_info: { node_id: member, cycle_nodes: members },
          },
        ],
      })
    }
    return results.get(id) as Result
  }

  /** Undefined where the input holds; `broken` where what it is linked to does not. */
  function input(
    id: string,
    node: NodeClass,
    inputs: JsonMap,
    name: string,
    spec: InputSpec,
  ): Problem | 'broken' | undefined {
    let value = inputs.get(name) as Json
    const config = configOf(spec)
    if (Array.isArray(value)) {
      if (value.length !== 2) {
        return {
          type: 'bad_linked_input',
          message: 'Bad linked input, must be a length-2 list of [node_id, slot_index]',
          details: name,
          extra_info: { input_name: name, input_config: config, received_value: value },
        }
      }
      const source = pyStr(value[0] ?? null)
      const types = nodes.get(pyStr(need(need(prompt, source) as JsonMap, 'class_type')))?.info.output ?? []
      const received = types[asNumber(value[1]) ?? -1]
      if (received === undefined) throw new PyException('IndexError', 'tuple index out of range')
      const wanted = typeof spec[0] === 'string' ? spec[0] : 'COMBO'
      if (wanted !== '*' && received !== '*' && received !== wanted) {
        const details = `${name}, received_type(${received}) mismatch input_type(${wanted})`
        return {
          type: 'return_type_mismatch',
          message: 'Return type mismatch between linked nodes',
          details,
          extra_info: { input_name: name, input_config: config, received_type: received, linked_node: value },
        }
      }
      visiting.push(id)
      try {
        return check(source).valid ? undefined : 'broken'
      } finally {
        visiting.pop()
      }
    }
    if (value instanceof Map && value.has('__value__')) {
      value = value.get('__value__') as Json
      inputs.set(name, value)
    }
    const type = typeof spec[0] === 'string' ? spec[0] : 'COMBO'
    try {
      value = convert(value, type)
      inputs.set(name, value)
    } catch (error) {
      const message = (error as Error).message
      return {
        type: 'invalid_input_type',
        message: `Failed to convert an input value to a ${type} value`,
        details: `${name}, ${pyStr(value)}, ${message}`,
        extra_info: { input_name: name, input_config: config, received_value: value, exception_message: message },
      }
    }
    if (node.checked === name) return undefined
    const range = outOfRange(value, spec, name)
    if (range) return range
    if (typeof spec[0] !== 'string' && !spec[0].includes(value as string)) {
      const list = spec[0]
      const long = list.length > 20
      return {
        type: 'value_not_in_list',
        message: 'Value not in list',
        details: `${name}: ${pyRepr(value)} not in ${long ? `(list of length ${list.length})` : pyRepr([...list])}`,
        extra_info: { input_name: name, input_config: long ? null : config, received_value: value },
      }
    }
    return undefined
  }

  function check(id: string): Result {
    const known = results.get(id)
    if (known) return known
    if (visiting.includes(id)) return cycle(id)
    const entry = need(prompt, id) as JsonMap
    const inputs = need(entry, 'inputs')
    const node = nodes.get(pyStr(need(entry, 'class_type')))
    if (!node || !(inputs instanceof Map))
      throw new PyException('TypeError', "argument of type 'NoneType' is not iterable")
    const problems: Problem[] = []
    let broken = false
    for (const [name, spec] of Object.entries(node.info.input.required)) {
      if (!inputs.has(name)) {
        problems.push({
          type: 'required_input_missing',
          message: 'Required input is missing',
          details: name,
          extra_info: { input_name: name },
        })
        continue
      }
      const problem = input(id, node, inputs, name, spec)
      if (problem === 'broken') broken = true
      else if (problem) problems.push(problem)
    }
    const own = node.checked === undefined ? undefined : inputs.get(node.checked)
    const message = own === undefined || Array.isArray(own) ? undefined : node.check?.(pyStr(own), folders)
    if (node.checked !== undefined && message !== undefined) {
      problems.push({
        type: 'custom_validation_failed',
        message: 'Custom validation failed for node',
        details: `${node.checked} - ${message}`,
        extra_info: { input_name: node.checked },
      })
    }
    const before = results.get(id)
    const result = {
      valid: (before?.valid ?? true) && !broken && problems.length === 0,
      problems: [...(before?.problems ?? []), ...problems],
    }
    results.set(id, result)
    return result
  }

  return {
    results,
    /** What is wrong with an output; undefined where it can run. */
    output(id: string): readonly Problem[] | undefined {
      visiting.length = 0
      try {
        const { valid, problems } = check(id)
        return valid ? undefined : problems
      } catch (error) {
        const type = error instanceof PyException ? error.type : 'Exception'
        const problems = [
          {
            type: 'exception_during_validation',
            message: 'Exception when validating node',
            details: (error as Error).message,
            extra_info: { exception_type: type, traceback: TRACE },
          },
        ]
        results.set(id, { valid: false, problems })
        return problems
      }
    },
  }
}
