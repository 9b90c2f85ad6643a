import { ComfyAuthError } from '../errors.ts'
import { promptInPng } from './embedded.ts'
import {
  isNumber,
  isObject,
  type Json,
  type JsonObject,
  JsonSyntaxError,
  numberFrom,
  parseJson,
  writeJson,
} from './json.ts'
import { nearest } from './names.ts'
import { plain } from './plain.ts'

/** A workflow in ComfyUI's API format: what POST /prompt calls `prompt`. Values are never changed in place. */
export interface Workflow {
  readonly nodes: ReadonlyMap<string, WorkflowNode>
  /** `extra_data` of a saved request body, or the page's own workflow beside a prompt in a picture. */
  readonly extraData: JsonObject | undefined
}

export interface WorkflowNode {
  readonly id: string
  readonly classType: string
  /** `_meta.title`, else the class. */
  readonly title: string
  readonly inputs: JsonObject
  /** The node as it was read; `inputs` stands in its place when it is written. */
  readonly raw: JsonObject
}

const EXPORT = 'In ComfyUI choose Workflow > Export (API) and submit the file it saves.'

function unusable(message: string, remedy = EXPORT): ComfyAuthError {
  return new ComfyAuthError('usage', message, { remedy })
}

function parseText(text: string, name: string): Json {
  if (text.trim() === '') throw unusable(`${name} is empty.`)
  try {
    return parseJson(text, { unique: true }) // a node of the same id as another would be lost
  } catch (error) {
    if (!(error instanceof JsonSyntaxError)) throw error
    throw unusable(
      `${name} is not JSON: ${error.message}.`,
      'Save it again from ComfyUI (Workflow > Export (API)), or mend it there.',
    )
  }
}

function toNode(id: string, raw: Json, name: string): WorkflowNode {
  const where = `${name}: node ${plain(id, { limit: 40 })}`
  if (!isObject(raw)) throw unusable(`${where} is not an object with class_type and inputs.`)
  const classType = raw.get('class_type')
  if (typeof classType !== 'string') throw unusable(`${where} has no class_type.`)
  const inputs = raw.get('inputs') ?? new Map()
  if (!isObject(inputs)) throw unusable(`${where}: inputs is not an object.`)
  const meta = raw.get('_meta')
  const title = isObject(meta) ? meta.get('title') : undefined
  return { id, classType, title: typeof title === 'string' && title !== '' ? title : classType, inputs, raw }
}

function fromJson(document: Json, name: string): Workflow {
  if (!isObject(document)) throw unusable(`${name} is JSON, but not a workflow: it holds no nodes.`)
  if (Array.isArray(document.get('nodes'))) {
    throw unusable(`${name} is a workflow as the page saves it (UI format), and submit takes the API format.`)
  }
  const inner = document.get('prompt')
  if (isObject(inner) && !inner.has('class_type')) {
    const extra = document.get('extra_data')
    return { ...fromJson(inner, name), extraData: isObject(extra) ? extra : undefined }
  }
  if (document.size === 0) throw unusable(`${name} is a workflow without any node.`)
  return { nodes: new Map([...document].map(([id, raw]) => [id, toNode(id, raw, name)])), extraData: undefined }
}

/**
 * Reads a workflow: API-format JSON (a byte order mark is passed over), a saved body of POST /prompt, or a PNG that
 * ComfyUI wrote, with the prompt inside. `name` stands for the file in messages.
 */
export function readWorkflow(content: string | Uint8Array, name = 'the workflow'): Workflow {
  if (typeof content === 'string') return fromJson(parseText(content.replace(/^\ufeff/, ''), name), name)
  const picture = promptInPng(content)
  if (picture) {
    if (picture.prompt === undefined)
      throw unusable(
        `${name} is a PNG without a prompt inside.`,
        'Take a picture that ComfyUI itself saved, not one that was edited or shared.',
      )
    const { nodes } = fromJson(parseText(picture.prompt, `the prompt in ${name}`), name)
    const pnginfo =
      picture.workflow === undefined
        ? undefined
        : new Map([['workflow', parseText(picture.workflow, `the workflow in ${name}`)]])
    return { nodes, extraData: pnginfo && new Map([['extra_pnginfo', pnginfo]]) }
  }
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(content)
  } catch {
    throw unusable(`${name} is neither JSON in UTF-8 nor a PNG that ComfyUI wrote.`)
  }
  return readWorkflow(text, name)
}

/** The API format again, numbers digit for digit: the `prompt` of POST /prompt. */
export function serialise(workflow: Workflow): string {
  return writeJson(toJson(workflow))
}

export function toJson(workflow: Workflow): JsonObject {
  return new Map(
    [...workflow.nodes].map(([id, node]) => [id, new Map([...node.raw, ['inputs', node.inputs] as const])]),
  )
}

/** `3 (KSampler)`, or `3 "My sampler" (KSampler)` where it has a title of its own. */
export function describeNode(node: WorkflowNode): string {
  const named = node.title === node.classType ? '' : ` "${plain(node.title, { limit: 60 })}"`
  return `${plain(node.id, { limit: 40 })}${named} (${plain(node.classType, { limit: 60 })})`
}

/** Nodes that `name` may mean: by id, else by title, else by class, exactly; else by title or class in any letter case. */
export function findNodes(workflow: Workflow, name: string): WorkflowNode[] {
  const byId = workflow.nodes.get(name)
  if (byId) return [byId]
  const all = [...workflow.nodes.values()]
  const lower = name.toLowerCase()
  const tests: ((node: WorkflowNode) => boolean)[] = [
    (node) => node.title === name,
    (node) => node.classType === name,
    (node) => node.title.toLowerCase() === lower || node.classType.toLowerCase() === lower,
  ]
  return tests.map((test) => all.filter(test)).find((found) => found.length > 0) ?? []
}

export interface InputPlace {
  readonly node: WorkflowNode
  readonly input: string
}

/**
 * Where `NODE.INPUT` points. Titles and inputs may both hold dots, so each dot is tried. `what` names the flag in
 * messages, which repeat nothing of `text`: it comes from argv.
 */
export function findInput(workflow: Workflow, text: string, what: string): InputPlace {
  let named: { nodes: WorkflowNode[]; input: string } | undefined
  for (let dot = text.indexOf('.'); dot > 0; dot = text.indexOf('.', dot + 1)) {
    const nodes = findNodes(workflow, text.slice(0, dot))
    const input = text.slice(dot + 1)
    if (nodes.length === 0) continue
    named ??= { nodes, input }
    const [node] = nodes
    if (nodes.length === 1 && node!.inputs.has(input)) return { node: node!, input }
  }
  if (!text.includes('.')) {
    throw unusable(
      `${what} has no dot between node and input.`,
      'Write NODE.INPUT, where NODE is an id, a title or a class name.',
    )
  }
  if (!named) {
    const known = [...workflow.nodes.values()]
    const likest = nearest(
      text.slice(0, text.lastIndexOf('.')),
      known.flatMap((node) => [node.id, node.title, node.classType]),
    )
    throw unusable(
      `${what} names a node that is not in the workflow.`,
      `Nearest: ${likest.map((name) => plain(name, { limit: 60 })).join(', ')}.`,
    )
  }
  if (named.nodes.length > 1) {
    throw unusable(
      `${what} names more than one node.`,
      `Use an id: ${named.nodes.slice(0, 8).map(describeNode).join(', ')}.`,
    )
  }
  const [node] = named.nodes
  const likest = nearest(named.input, node!.inputs.keys(), 5).map((name) => plain(name, { limit: 60 }))
  throw unusable(
    `${what}: node ${describeNode(node!)} has no input of that name.`,
    likest.length > 0 ? `Nearest: ${likest.join(', ')}.` : 'This node has no inputs at all.',
  )
}

export function withInput(workflow: Workflow, place: InputPlace, value: Json): Workflow {
  const present = workflow.nodes.get(place.node.id)!
  const node = { ...present, inputs: new Map([...present.inputs, [place.input, value]]) }
  return { ...workflow, nodes: new Map([...workflow.nodes, [node.id, node]]) }
}

/** VALUE as the input's present value has it: text stays text, a number keeps its digits, the rest is JSON or text. */
function valueLike(present: Json | undefined, text: string, place: InputPlace, what: string): Json {
  const where = `${what}: input ${plain(place.input, { limit: 60 })} of node ${describeNode(place.node)}`
  if (typeof present === 'string') return text
  if (isNumber(present)) {
    const number = numberFrom(text.trim())
    if (!number) throw unusable(`${where} is a number.`, `Give digits; it is ${present.source} now.`)
    return number
  }
  if (typeof present === 'boolean') {
    if (text !== 'true' && text !== 'false') throw unusable(`${where} is true or false.`, 'Give one of the two.')
    return text === 'true'
  }
  try {
    return parseJson(text)
  } catch {
    return text
  }
}

/** Splits `NODE.INPUT=VALUE` at the first `=` whose left side is an input; a title may hold one too. */
export function splitSetting(workflow: Workflow, text: string, what: string): { place: InputPlace; value: string } {
  let first: unknown
  for (let equals = text.indexOf('='); equals >= 0; equals = text.indexOf('=', equals + 1)) {
    try {
      return { place: findInput(workflow, text.slice(0, equals), what), value: text.slice(equals + 1) }
    } catch (error) {
      first ??= error
    }
  }
  throw first ?? unusable(`${what} has no "=".`, 'Write NODE.INPUT=VALUE, for example 3.seed=42.')
}

/** `--set NODE.INPUT=VALUE`. `what` names the flag in messages: `--set number 2`. */
export function setInput(workflow: Workflow, setting: string, what = '--set'): Workflow {
  const { place, value } = splitSetting(workflow, setting, what)
  return withInput(workflow, place, valueLike(place.node.inputs.get(place.input), value, place, what))
}
