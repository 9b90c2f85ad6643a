import { type Json, type JsonMap, PyFloat, type Writable } from './json.ts'

/** A prompt in the queue. */
export interface QueueItem {
  /** The place in the queue as it is shown; smaller ones run first. */
  readonly number: number | PyFloat
  readonly id: string
  readonly prompt: JsonMap
  readonly extra: JsonMap
  readonly outputs: readonly string[]
}

/** What is known of a prompt that has ended. */
export interface HistoryItem {
  readonly prompt: readonly Json[]
  readonly outputs: Map<string, Writable>
  readonly status: {
    readonly status_str: 'success' | 'error'
    readonly completed: boolean
    readonly messages: readonly (readonly [string, Writable])[]
  }
  readonly meta: Map<string, Writable>
}

const MAX_HISTORY = 10_000

/** The tuple that /queue and /history show. Keys of comfy.org never stand in it. */
export function tuple(item: QueueItem): Json[] {
  return [item.number, item.id, item.prompt, item.extra, [...item.outputs]]
}

const place = ({ number }: QueueItem) => (number instanceof PyFloat ? number.value : number)

/** Pending prompts in order, the one that runs, and what has ended. */
export class PromptQueue {
  running: QueueItem | undefined
  pending: QueueItem[] = []
  readonly history = new Map<string, HistoryItem>()
  private readonly changed: () => void

  /** `changed` is called where ComfyUI sends a status frame. */
  constructor(changed: () => void) {
    this.changed = changed
  }

  get remaining(): number {
    return this.pending.length + (this.running ? 1 : 0)
  }

  put(item: QueueItem): void {
    this.pending.push(item)
    this.pending.sort((a, b) => place(a) - place(b) || (a.id < b.id ? -1 : 1))
    this.changed()
  }

  take(): QueueItem | undefined {
    this.running = this.pending.shift()
    if (this.running) this.changed()
    return this.running
  }

  done(result: HistoryItem): void {
    const item = this.running
    this.running = undefined
    if (item) {
      if (this.history.size > MAX_HISTORY) this.history.delete(this.history.keys().next().value ?? '')
      this.history.set(item.id, result)
    }
    this.changed()
  }

  clear(): void {
    this.pending = []
    this.changed()
  }

  /** Takes a pending prompt out. The last one out is two status frames, as in ComfyUI. */
  remove(id: Json): boolean {
    const index = this.pending.findIndex((item) => item.id === id)
    if (index < 0) return false
    if (this.pending.length === 1) this.clear()
    else this.pending.splice(index, 1)
    this.changed()
    return true
  }

  /** A slice of the history, oldest first, with ComfyUI's reading of the two numbers. */
  list(maxItems: number | undefined, offset: number): Map<string, HistoryItem> {
    const from = offset < 0 && maxItems !== undefined ? this.history.size - maxItems : offset
    const out = new Map<string, HistoryItem>()
    let index = 0
    for (const [id, item] of this.history) {
      if (index >= from) {
        out.set(id, item)
        if (maxItems !== undefined && out.size >= maxItems) break
      }
      index += 1
    }
    return out
  }
}
