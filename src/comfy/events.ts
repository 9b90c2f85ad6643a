import { readAnswer } from './json.ts'

/** Where a node stands, from `progress_state`. */
export interface NodeState {
  readonly node: string
  /** The node as the workflow has it; a subgraph or expansion runs under ids of its own. */
  readonly displayNode: string
  readonly state: 'pending' | 'running' | 'finished' | 'error' | 'unknown'
  readonly value: number
  readonly max: number
}

/** What ComfyUI's socket says, once read. `promptId` is absent where a frame does not name it. */
export type ComfyEvent =
  | { readonly type: 'status'; readonly remaining: number | undefined; readonly sid: string | undefined }
  | { readonly type: 'feature-flags'; readonly flags: Readonly<Record<string, unknown>> }
  | { readonly type: 'start' | 'success'; readonly promptId: string }
  | { readonly type: 'cached'; readonly promptId: string; readonly nodes: readonly string[] }
  | {
      readonly type: 'executing'
      readonly promptId: string | undefined
      readonly node: string | undefined
      readonly displayNode: string | undefined
    }
  | {
      readonly type: 'executed'
      readonly promptId: string
      readonly node: string
      readonly displayNode: string
      readonly output: unknown
    }
  | {
      readonly type: 'progress'
      readonly promptId: string | undefined
      readonly node: string | undefined
      readonly value: number
      readonly max: number
    }
  | { readonly type: 'progress-state'; readonly promptId: string; readonly nodes: readonly NodeState[] }
  | {
      readonly type: 'interrupted'
      readonly promptId: string
      readonly node: string | undefined
      readonly classType: string | undefined
    }
  | { readonly type: 'error'; readonly promptId: string; readonly failure: Failure }
  /** Binary type 1 (no node named) and 4. */
  | {
      readonly type: 'preview'
      readonly promptId: string | undefined
      readonly node: string | undefined
      readonly mime: string
      readonly image: Uint8Array
    }
  /** Binary type 3: a line of text of a node. */
  | { readonly type: 'text'; readonly node: string; readonly text: string }
  /** Known to be of no interest here (logs, assets, custom nodes' own), or not readable. */
  | { readonly type: 'other'; readonly name: string }

/** Why a prompt failed, from `execution_error`. The traceback holds paths of the server and is left out. */
export interface Failure {
  readonly node: string | undefined
  readonly classType: string | undefined
  readonly exceptionType: string
  readonly message: string
}

type Fields = Readonly<Record<string, unknown>>

function fields(value: unknown): Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : {}
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}

/** Node ids are strings, but for custom nodes that send numbers. */
function id(value: unknown): string | undefined {
  return typeof value === 'number' ? String(value) : text(value)
}

function number(value: unknown): number {
  return typeof value === 'number' && Number.isFinite(value) ? value : 0
}

const STATES = ['pending', 'running', 'finished', 'error'] as const

function nodeState(key: string, value: unknown): NodeState {
  const data = fields(value)
  const state = STATES.find((known) => known === data.state) ?? 'unknown'
  return {
    node: key,
    displayNode: id(data.display_node_id) ?? key,
    state,
    value: number(data.value),
    max: number(data.max),
  }
}

/** `execution_error`'s data, as it stands in a frame and in a history entry's messages. */
export function readFailure(value: unknown): Failure {
  const data = fields(value)
  return {
    node: id(data.node_id),
    classType: text(data.node_type),
    exceptionType: text(data.exception_type) ?? 'error',
    message: (text(data.exception_message) ?? '').trim(),
  }
}

function textEvent(name: string, data: Fields): ComfyEvent | undefined {
  const promptId = text(data.prompt_id)
  switch (name) {
    case 'status': {
      const remaining = fields(fields(data.status).exec_info).queue_remaining
      return { type: 'status', remaining: typeof remaining === 'number' ? remaining : undefined, sid: text(data.sid) }
    }
    case 'feature_flags':
      return { type: 'feature-flags', flags: data }
    case 'executing':
      return { type: 'executing', promptId, node: id(data.node), displayNode: id(data.display_node) ?? id(data.node) }
    case 'progress':
      return { type: 'progress', promptId, node: id(data.node), value: number(data.value), max: number(data.max) }
  }
  if (promptId === undefined) return undefined
  switch (name) {
    case 'execution_start':
      return { type: 'start', promptId }
    case 'execution_success':
      return { type: 'success', promptId }
    case 'execution_cached':
      return {
        type: 'cached',
        promptId,
        nodes: (Array.isArray(data.nodes) ? data.nodes : []).flatMap((node) => id(node) ?? []),
      }
    case 'executed': {
      const node = id(data.node)
      return node === undefined
        ? undefined
        : { type: 'executed', promptId, node, displayNode: id(data.display_node) ?? node, output: data.output }
    }
    case 'progress_state':
      return {
        type: 'progress-state',
        promptId,
        nodes: Object.entries(fields(data.nodes)).map(([key, value]) => nodeState(key, value)),
      }
    case 'execution_interrupted':
      return { type: 'interrupted', promptId, node: id(data.node_id), classType: text(data.node_type) }
    case 'execution_error':
      return { type: 'error', promptId, failure: readFailure(data) }
  }
  return undefined
}

function binaryEvent(frame: Buffer): ComfyEvent | undefined {
  if (frame.length < 8) return undefined
  const kind = frame.readUInt32BE(0)
  const second = frame.readUInt32BE(4)
  if (kind === 1) {
    return {
      type: 'preview',
      promptId: undefined,
      node: undefined,
      mime: second === 2 ? 'image/png' : 'image/jpeg',
      image: frame.subarray(8),
    }
  }
  if ((kind !== 3 && kind !== 4) || 8 + second > frame.length) return undefined
  const head = frame.toString('utf8', 8, 8 + second)
  const rest = frame.subarray(8 + second)
  if (kind === 3) return { type: 'text', node: head, text: rest.toString('utf8') }
  const data = fields(readAnswer(head))
  return {
    type: 'preview',
    promptId: text(data.prompt_id),
    node: id(data.display_node_id) ?? id(data.node_id),
    mime: text(data.image_type) ?? 'image/jpeg',
    image: rest,
  }
}

/** Reads one frame of ComfyUI's socket. Never throws: what cannot be read is `other`. */
export function parseFrame(frame: string | Buffer): ComfyEvent {
  let name = 'unreadable'
  try {
    if (typeof frame !== 'string') return binaryEvent(frame) ?? { type: 'other', name: 'binary' }
    const message = fields(readAnswer(frame))
    name = text(message.type) ?? name
    return textEvent(name, fields(message.data)) ?? { type: 'other', name }
  } catch {
    return { type: 'other', name }
  }
}
