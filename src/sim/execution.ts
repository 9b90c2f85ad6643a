import { createHash, randomBytes } from 'node:crypto'
import type { NodeTable } from './checks.ts'
import { type Frames, PREVIEW, PREVIEW_WITH_METADATA, TEXT, u32 } from './frames.ts'
import { dumpJson, type Json, type JsonMap, pyStr, type Writable } from './json.ts'
import { Interrupted, type NodeContext, NodeError, type NodeResult, type Preview, type Value } from './nodes/types.ts'
import type { Faults } from './options.ts'
import type { Folders } from './paths.ts'
import { createProgress } from './progress.ts'
import { type HistoryItem, type PromptQueue, type QueueItem, tuple } from './queue.ts'

const CACHE_SIZE = 64

export interface ExecutionParts {
  readonly queue: PromptQueue
  readonly frames: Frames
  readonly nodes: NodeTable
  readonly folders: Folders
  readonly stepMs: () => number
  readonly faults: () => Faults
  readonly log: (line: string) => void
  readonly nowMs: () => number
}

export interface Execution {
  /** Runs what is pending, one at a time. */
  wake(): void
  interrupt(): void
  /** Sets hanging nodes free. */
  release(): void
  /** The node that runs now for a client. */
  runningNode(clientId: string): string | undefined
  /** Forgets the results of earlier prompts. */
  forget(): void
  close(): void
}

interface Cached extends NodeResult {
  readonly meta?: Writable
}

/** What one node needs from others: `[node, slot]`. */
const linkOf = (value: Json | undefined): [string, number] | undefined =>
  Array.isArray(value) && value.length === 2 && (typeof value[1] === 'number' || typeof value[1] === 'bigint')
    ? [pyStr(value[0] ?? null), Number(value[1])]
    : undefined

const inputsOf = (prompt: JsonMap, id: string): JsonMap => {
  const inputs = (prompt.get(id) as JsonMap | undefined)?.get('inputs')
  return inputs instanceof Map ? inputs : new Map()
}

/** The worker of ComfyUI: one prompt at a time, frames in the recorded order, results kept for the next prompt. */
export function createExecution(parts: ExecutionParts): Execution {
  const { queue, frames, nodes, folders } = parts
  const cache = new Map<string, Cached>()
  const tempPrefix = `_temp_${randomBytes(4).toString('hex').replace(/[0-9]/g, 'x').slice(0, 5)}`
  let busy = false
  let closed = false
  let interrupted = false
  let wakeSleepers: (() => void)[] = []
  let hanging: (() => void)[] = []
  let current: { clientId: string | null; node: string } | undefined

  const classOf = (prompt: JsonMap, id: string): string =>
    pyStr((prompt.get(id) as JsonMap | undefined)?.get('class_type') ?? null)

  /** What a node's result hangs on: its class, its inputs, and the same of what it is linked to. Undefined within a cycle. */
  function signature(prompt: JsonMap, id: string, known: Map<string, string | undefined>): string | undefined {
    if (known.has(id)) return known.get(id)
    known.set(id, undefined)
    const node = nodes.get(classOf(prompt, id))
    if (!node) return undefined
    const inputs = inputsOf(prompt, id)
    const hash = createHash('sha256').update(`${node.info.name}\0${node.changed?.(inputs, folders) ?? ''}`)
    for (const name of [...inputs.keys()].sort()) {
      const link = linkOf(inputs.get(name))
      const upstream = link && signature(prompt, link[0], known)
      if (link && upstream === undefined) return undefined
      hash.update(`\0${name}\0${link ? `${upstream}.${link[1]}` : dumpJson(inputs.get(name) ?? null)}`)
    }
    const result = hash.digest('hex')
    known.set(id, result)
    return result
  }

  function sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(end, ms)
      function end() {
        clearTimeout(timer)
        wakeSleepers = wakeSleepers.filter((other) => other !== end)
        resolve()
      }
      wakeSleepers.push(end)
    })
  }

  const stopIfInterrupted = () => {
    if (interrupted) throw new Interrupted()
  }

  async function runPrompt(item: QueueItem): Promise<HistoryItem> {
    const { prompt, id: promptId } = item
    const named = item.extra.get('client_id')
    const clientId = named === undefined || named === null ? null : pyStr(named)
    const messages: [string, Writable][] = []
    const outputs = new Map<string, Writable>()
    const meta = new Map<string, Writable>()
    const executed: string[] = []
    const progress = createProgress(promptId, (nodesState) =>
      frames.send('progress_state', { prompt_id: promptId, nodes: nodesState }, clientId),
    )
    const results = new Map<string, readonly Value[]>()
    const known = new Map<string, string | undefined>()

    const message = (type: string, data: Record<string, Writable>, everybody = false) => {
      const whole = { ...data, timestamp: parts.nowMs() }
      messages.push([type, whole])
      if (clientId !== null || everybody) frames.send(type, whole, clientId)
    }
    const cachedOf = (id: string) => {
      const key = signature(prompt, id, known)
      return key === undefined ? undefined : cache.get(key)
    }
    const own = (type: string, data: Writable) => {
      if (clientId !== null) frames.send(type, data, clientId)
    }
    const metaOf = (id: string) => ({ node_id: id, display_node: id, parent_node: null, real_node_id: id })

    function preview({ format, data }: Preview): void {
      frames.sendBinary(PREVIEW, [u32(format === 'JPEG' ? 1 : 2), data], clientId)
    }
    function previewWithMetadata(id: string, { format, data }: Preview): void {
      const details = {
        node_id: id,
        prompt_id: promptId,
        display_node_id: id,
        parent_node_id: null,
        real_node_id: id,
        image_type: format === 'PNG' ? 'image/png' : 'image/jpeg',
      }
      const head = Buffer.from(dumpJson(details))
      frames.sendBinary(PREVIEW_WITH_METADATA, [u32(head.length), head, data], clientId)
    }

    function contextFor(id: string): NodeContext {
      const inputs = inputsOf(prompt, id)
      return {
        folders,
        prompt,
        tempPrefix,
        extraPnginfo: item.extra.get('extra_pnginfo'),
        stepMs: parts.stepMs(),
        input(name) {
          const link = linkOf(inputs.get(name))
          return link ? (results.get(link[0])?.[link[1]] ?? null) : (inputs.get(name) ?? null)
        },
        async sleep(ms) {
          if (ms > 0) await sleep(ms)
          else await new Promise((resolve) => setImmediate(resolve))
          stopIfInterrupted()
        },
        progress(value, max, make) {
          stopIfInterrupted()
          progress.update(id, value, max)
          const picture = make && (clientId === null || frames.has(clientId)) ? make() : undefined
          const detailed = frames.supports(clientId, 'supports_preview_metadata')
          if (picture && detailed) previewWithMetadata(id, picture)
          frames.send('progress', { value, max, prompt_id: promptId, node: id }, clientId)
          if (picture && !detailed) preview(picture)
        },
        text(text) {
          const node = Buffer.from(id)
          frames.sendBinary(TEXT, [u32(node.length), node, Buffer.from(text)], null)
        },
      }
    }

    async function runNode(id: string): Promise<void> {
      const name = classOf(prompt, id)
      const node = nodes.get(name)
      if (!node) throw new NodeError('KeyError', `'${name}'`)
      progress.start(id)
      current = { clientId, node: id }
      own('executing', { node: id, display_node: id, prompt_id: promptId })
      // One turn of the loop a node, so that sockets and requests are served between them.
      await new Promise((resolve) => setImmediate(resolve))
      stopIfInterrupted()
      const faults = parts.faults()
      const meant = (list: readonly string[] | undefined) => list?.includes(name) || list?.includes(id)
      const wait = faults.nodeMs?.[id] ?? faults.nodeMs?.[name]
      if (wait !== undefined) await new Promise((resolve) => setTimeout(resolve, wait).unref())
      if (meant(faults.hangNodes)) await new Promise<void>((resolve) => hanging.push(resolve))
      if (meant(faults.failNodes)) throw new NodeError('RuntimeError', `simulated: ${name} fails as it was told to`)
      const result = await node.run(contextFor(id))
      results.set(id, result.outputs)
      if (result.ui !== undefined) {
        outputs.set(id, result.ui)
        meta.set(id, metaOf(id))
        own('executed', { node: id, display_node: id, output: result.ui, prompt_id: promptId })
      }
      const key = signature(prompt, id, known)
      if (key !== undefined) remember(key, result)
      progress.finish(id)
      executed.push(id)
    }

    /** The nodes that must run, each after what it needs; a cached output node stands among them, its sources do not. */
    function plan(): string[] {
      const order: string[] = []
      const seen = new Set<string>()
      const visit = (id: string) => {
        if (seen.has(id)) return
        seen.add(id)
        const cached = cachedOf(id)
        if (cached) results.set(id, cached.outputs)
        else {
          for (const value of inputsOf(prompt, id).values()) {
            const link = linkOf(value)
            if (link) visit(link[0])
          }
        }
        if (!cached || item.outputs.includes(id)) order.push(id)
      }
      for (const id of item.outputs) visit(id)
      return order
    }

    function playCached(id: string, cached: Cached): void {
      results.set(id, cached.outputs)
      if (cached.ui !== undefined) {
        outputs.set(id, cached.ui)
        meta.set(id, metaOf(id))
      }
      own('executed', { node: id, display_node: id, output: cached.ui ?? null, prompt_id: promptId })
      progress.finish(id)
    }

    message('execution_start', { prompt_id: promptId })
    message('execution_cached', {
      nodes: [...prompt.keys()].filter((id) => cachedOf(id) !== undefined),
      prompt_id: promptId,
    })
    let ok = true
    let at = ''
    try {
      for (const id of plan()) {
        at = id
        const cached = cachedOf(id)
        if (cached) playCached(id, cached)
        else await runNode(id)
      }
      message('execution_success', { prompt_id: promptId })
    } catch (error) {
      ok = false
      const where = {
        prompt_id: promptId,
        node_id: at,
        node_type: classOf(prompt, at),
        executed: [...executed].reverse(),
      }
      if (error instanceof Interrupted) message('execution_interrupted', where, true)
      else message('execution_error', { ...where, ...failure(error, inputsOf(prompt, at), [...prompt.keys()]) })
    }
    current = undefined
    const status = { status_str: ok ? ('success' as const) : ('error' as const), completed: ok, messages }
    return { prompt: tuple(item), outputs, status, meta }
  }

  function remember(key: string, result: Cached): void {
    cache.set(key, result)
    const oldest = cache.keys().next().value
    if (cache.size > CACHE_SIZE && oldest !== undefined) cache.delete(oldest)
  }

  async function work(): Promise<void> {
    if (busy) return
    busy = true
    for (let item = queue.take(); item && !closed; item = queue.take()) {
      interrupted = false
      const started = parts.nowMs()
      const result = await runPrompt(item)
      if (closed) return
      queue.done(result)
      const client = item.extra.get('client_id')
      if (client !== undefined && client !== null)
        frames.send('executing', { node: null, prompt_id: item.id }, pyStr(client))
      parts.log(`Prompt executed in ${((parts.nowMs() - started) / 1000).toFixed(2)} seconds`)
    }
    busy = false
  }

  return {
    wake: () => void work(),
    interrupt() {
      interrupted = true
      for (const wake of wakeSleepers) wake()
    },
    release() {
      for (const free of hanging.splice(0)) free()
    },
    runningNode: (clientId) => (current?.clientId === clientId ? current.node : undefined),
    forget: () => cache.clear(),
    close() {
      closed = true
      interrupted = true
      for (const wake of wakeSleepers) wake()
      hanging = []
    },
  }
}

const FILES = [
  'execution.py", line 545, in execute',
  'execution.py", line 344, in get_output_data',
  'execution.py", line 318, in _async_map_node_over_list',
  'nodes.py", line 1765, in run',
]

function failure(error: unknown, inputs: JsonMap, ids: readonly string[]): Record<string, Writable> {
  const known = error instanceof NodeError ? error : new NodeError('RuntimeError', String(error))
  return {
    exception_message: known.message.endsWith('\n') ? known.message : `${known.message}\n`,
    exception_type: known.type,
    traceback: FILES.map((line) => `  File "/srv/comfyui/${line}\n    <source line>\n`),
    current_inputs: new Map(
      [...inputs].map(([name, value]) => [name, [linkOf(value) ? '<tensor>' : value]]),
    ) as unknown as Writable,
    current_outputs: ids,
  }
}
