import { plain } from '../comfy/plain.ts'
import { readSystemStats } from '../comfy/system-stats.ts'

/** The guide's `/health` document. Bytes; what ComfyUI did not say is null, never 0. */
export interface Summary {
  readonly status: 'ok' | 'unavailable'
  readonly queue: { readonly pending: number | null; readonly running: number | null }
  readonly device: { readonly name: string | null; readonly type: string | null }
  readonly vram: { readonly total: number | null; readonly free: number | null }
}

/** What `/health` says, with a 503, while no ComfyUI answers: the same shape, nothing known. */
export const UNAVAILABLE: Summary = {
  status: 'unavailable',
  queue: { pending: null, running: null },
  device: { name: null, type: null },
  vram: { total: null, free: null },
}

/**
 * The guide's summary from the parsed bodies of GET /system_stats and GET /prompt, which are anybody's
 * JSON and are read field by field. `queue_remaining` counts the running prompt too and ComfyUI has one worker, so
 * running is 1 of them at most. A body that names no device is no ComfyUI's: `UNAVAILABLE`.
 */
export function summarise(systemStats: unknown, prompt: unknown): Summary {
  const device = readSystemStats(systemStats)?.device
  if (device === undefined) return UNAVAILABLE
  const remaining = count(member(member(prompt, 'exec_info'), 'queue_remaining'))
  const running = remaining === null ? null : Math.min(1, remaining)
  return {
    status: 'ok',
    queue: { pending: remaining === null || running === null ? null : remaining - running, running },
    device: { name: text(member(device, 'name')), type: text(member(device, 'type')) },
    vram: { total: count(member(device, 'vram_total')), free: count(member(device, 'vram_free')) },
  }
}

function member(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined
  return (value as Record<string, unknown>)[name]
}

function count(value: unknown): number | null {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : null
}

function text(value: unknown): string | null {
  const shown = typeof value === 'string' ? plain(value, { limit: 200 }) : ''
  return shown === '' ? null : shown
}

/** A `/health` answer of somebody's as a Summary; undefined where it has not the guide's shape. */
export function readSummary(body: unknown): Summary | undefined {
  const status = member(body, 'status')
  if ((status !== 'ok' && status !== 'unavailable') || typeof member(body, 'queue') !== 'object') return undefined
  const at = (outer: string, inner: string): unknown => member(member(body, outer), inner)
  return {
    status,
    queue: { pending: count(at('queue', 'pending')), running: count(at('queue', 'running')) },
    device: { name: text(at('device', 'name')), type: text(at('device', 'type')) },
    vram: { total: count(at('vram', 'total')), free: count(at('vram', 'free')) },
  }
}
