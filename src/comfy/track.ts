import type { ComfyEvent } from './events.ts'
import { plain } from './plain.ts'
import { describeNode, type Workflow } from './workflow.ts'

/** What a run tells while it goes on. Nodes are named by id, and by title for people. */
export type RunEvent =
  | { readonly type: 'uploading'; readonly file: string; readonly fraction: number }
  | { readonly type: 'submitted'; readonly promptId: string; readonly problems: readonly string[] }
  /** Still waiting: `ahead` prompts come first, where the server says so. */
  | { readonly type: 'queued'; readonly ahead: number | undefined }
  | { readonly type: 'started' }
  | { readonly type: 'cached'; readonly nodes: readonly string[] }
  /** A node begins. `fraction` is of the whole prompt, 0 to 1, counted in nodes. */
  | { readonly type: 'node'; readonly node: string; readonly title: string; readonly fraction: number }
  | {
      readonly type: 'progress'
      readonly node: string
      readonly title: string
      readonly value: number
      readonly max: number
      readonly fraction: number
    }
  | { readonly type: 'text'; readonly node: string; readonly title: string; readonly text: string }
  | { readonly type: 'preview'; readonly node: string | undefined; readonly mime: string; readonly image: Uint8Array }
  /** live: the socket tells; polling: it does not, the slow poll does; unreachable: neither, for now. */
  | { readonly type: 'connection'; readonly state: 'live' | 'polling' | 'unreachable' }
  | { readonly type: 'downloading'; readonly filename: string; readonly fraction: number | undefined }
  | { readonly type: 'output'; readonly node: string; readonly path: string }
  | { readonly type: 'warning'; readonly message: string }

/** A picture that a node sent over the socket alone, as SaveImageWebsocket does. */
export interface SocketImage {
  readonly node: string
  readonly mime: string
  readonly image: Uint8Array
}

export interface Tracker {
  /** Takes one event of the socket; those of other prompts change nothing. */
  take(event: ComfyEvent): void
  /** Outputs that `executed` frames brought: the fallback where the history cannot be had. */
  readonly outputs: ReadonlyMap<string, Readonly<Record<string, unknown>>>
  readonly images: readonly SocketImage[]
}

/** Its previews are its output, and stand in no history. */
export const SOCKET_OUTPUT = 'SaveImageWebsocket'

/** Follows one prompt through its frames and says what a person wants to know of it, each thing once. */
export function createTracker(
  promptId: string,
  workflow: Workflow | undefined,
  emit: (event: RunEvent) => void,
): Tracker {
  const total = workflow?.nodes.size ?? 0
  const finished = new Set<string>()
  const partial = new Map<string, number>()
  const outputs = new Map<string, Readonly<Record<string, unknown>>>()
  const images: SocketImage[] = []
  let current: string | undefined
  let started = false

  function title(node: string): string {
    const known = workflow?.nodes.get(node)
    return known ? describeNode(known) : plain(node, { limit: 40 })
  }
  function fraction(): number {
    let done = finished.size
    for (const [node, part] of partial) if (!finished.has(node)) done += part
    return Math.min(1, done / Math.max(total, finished.size, 1))
  }
  function start(): void {
    if (!started) emit({ type: 'started' })
    started = true
  }
  function begin(node: string): void {
    start()
    if (current === node) return
    current = node
    emit({ type: 'node', node, title: title(node), fraction: fraction() })
  }

  function takeOwn(event: ComfyEvent): void {
    switch (event.type) {
      case 'start':
        start()
        return
      case 'cached':
        for (const node of event.nodes) finished.add(node)
        if (event.nodes.length > 0) emit({ type: 'cached', nodes: event.nodes })
        return
      case 'executing':
        if (event.displayNode !== undefined) begin(event.displayNode)
        return
      case 'progress-state':
        for (const { node, displayNode, state, value, max } of event.nodes) {
          // the parts of an expanded node do not make the whole longer
          if (state === 'finished' && node === displayNode) finished.add(node)
          else if (max > 0 && node === displayNode) partial.set(node, Math.min(1, value / max))
        }
        return
      case 'progress': {
        const node = event.node ?? current
        if (node === undefined || event.max <= 0) return
        begin(node)
        partial.set(node, Math.min(1, event.value / event.max))
        emit({ type: 'progress', node, title: title(node), value: event.value, max: event.max, fraction: fraction() })
        return
      }
      case 'executed':
        finished.add(event.node)
        if (typeof event.output === 'object' && event.output !== null) {
          outputs.set(event.node, event.output as Readonly<Record<string, unknown>>)
        }
        return
      case 'text':
        emit({ type: 'text', node: event.node, title: title(event.node), text: event.text })
        return
      case 'preview': {
        const node = event.node ?? current
        if (node !== undefined && workflow?.nodes.get(node)?.classType === SOCKET_OUTPUT) {
          images.push({ node, mime: event.mime, image: event.image })
        } else emit({ type: 'preview', node, mime: event.mime, image: event.image })
      }
    }
  }

  return {
    outputs,
    images,
    take(event) {
      if (event.type === 'preview' && event.promptId === undefined) {
        // type 1 names no prompt and may be another's: it is ours only while a node of ours runs
        if (current !== undefined) takeOwn(event)
        return
      }
      if (event.type === 'text') {
        // broadcast to all: a line of a node that runs now
        if (current !== undefined && current === event.node) takeOwn(event)
        return
      }
      if (event.type === 'executing' && event.promptId === undefined && started) {
        takeOwn(event) // after a reconnect the current node comes without its prompt
        return
      }
      if (!('promptId' in event) || event.promptId !== promptId) return
      if (event.type === 'executing' && event.node === undefined) current = undefined
      takeOwn(event)
    },
  }
}
