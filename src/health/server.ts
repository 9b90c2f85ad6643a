import { createClient } from '../comfy/client.ts'
import { plain } from '../comfy/plain.ts'
import { readSystemStats } from '../comfy/system-stats.ts'
import { ComfyAuthError } from '../errors.ts'
import { showBytes } from './format.ts'
import type { State } from './state.ts'
import { readSummary, type Summary, summarise, UNAVAILABLE } from './summary.ts'

export interface ServerTarget {
  readonly url: string
  readonly key: string | undefined
}

/** One torch device as /system_stats lists it. Bytes. */
export interface ServerDevice {
  readonly name: string
  readonly type: string
  readonly total: number | null
  readonly free: number | null
}

export interface ServerReport {
  readonly url: string
  readonly state: State
  /** One line about the server, without its address. */
  readonly message: string
  /** What to do; empty where nothing needs doing. */
  readonly remedy: string
  readonly summary: Summary
  /** ComfyUI's version; null where it was not told. */
  readonly version: string | null
  /** Seconds until the first answer; null where none came. */
  readonly responseSeconds: number | null
  readonly devices: readonly ServerDevice[]
}

/**
 * Asks one server: `/health` without the key, then `/system_stats` and `/prompt` with it. Who answers is told apart: our
 * proxy, a ComfyUI without it (no `/health`), or something else. Never rejects; by `timeoutMs` it has answered.
 */
export async function probeServer(target: ServerTarget, timeoutMs: number): Promise<ServerReport> {
  const client = createClient({ url: target.url, key: target.key, timeoutMs })
  const deadline = AbortSignal.timeout(timeoutMs)
  const startedMs = performance.now()
  let responseSeconds: number | null = null
  let known: Summary = UNAVAILABLE
  const report = (state: State, message: string, more: Partial<ServerReport> = {}): ServerReport => ({
    url: target.url,
    state,
    message,
    remedy: '',
    summary: known,
    version: null,
    responseSeconds,
    devices: [],
    ...more,
  })
  try {
    const answer = await client.health(deadline)
    responseSeconds = Math.round(performance.now() - startedMs) / 1000
    const ours = readSummary(answer)
    known = ours ?? UNAVAILABLE
    if (ours?.status === 'unavailable') {
      return report('critical', 'the proxy answers, ComfyUI behind it does not', {
        remedy: 'Start ComfyUI, or look at its console.',
      })
    }
    if (ours && target.key === undefined) return report('ok', said(ours, null, responseSeconds))
    const [stats, prompt] = await Promise.all([client.systemStats(deadline), client.promptInfo(deadline)])
    const summary = summarise(stats, prompt)
    if (summary === UNAVAILABLE) {
      return report('critical', 'it answers, but is not a ComfyUI: its /system_stats names no device', {
        remedy: 'Look at the address (host, port, path prefix).',
      })
    }
    known = summary
    const version = readSystemStats(stats)?.version ?? null
    const locked = ours ? '' : ' (ComfyUI itself, without comfy-auth in front)'
    return report('ok', said(summary, version, responseSeconds) + locked, { version, devices: devicesIn(stats) })
  } catch (error) {
    return failed(error, deadline.aborted, timeoutMs, target.url, report)
  } finally {
    await client.close()
  }
}

/**
 * Down, deaf or no ComfyUI is CRITICAL. A key the server refuses is UNKNOWN: it answers, and what failed is this check's
 * own credential; a key rotated elsewhere must not look like an outage, nor an outage like a rotated key.
 */
function failed(
  error: unknown,
  timedOut: boolean,
  timeoutMs: number,
  url: string,
  report: (state: State, message: string, more?: Partial<ServerReport>) => ServerReport,
): ServerReport {
  if (timedOut || (error instanceof ComfyAuthError && error.kind === 'timeout')) {
    return report('critical', `no answer within ${timeoutMs / 1000} s`, {
      remedy: 'Look at the server: it may be starting, overloaded, or hung.',
    })
  }
  if (!(error instanceof ComfyAuthError)) throw error
  const message = error.message.replace(`${url} `, '').replace(/\.$/, '')
  return report(error.kind === 'unauthorised' ? 'unknown' : 'critical', message, { remedy: error.remedy })
}

function said({ queue, device, vram }: Summary, version: string | null, responseSeconds: number): string {
  const parts = [
    `ComfyUI${version === null ? '' : ` ${version}`} on ${deviceName(device.name ?? device.type)}`,
    ...(vram.free === null || vram.total === null ? [] : [`${showBytes(vram.free)} of ${showBytes(vram.total)} free`]),
    queue.pending === null ? 'queue unknown' : `${queue.running} running, ${queue.pending} pending`,
    `answered in ${Math.round(responseSeconds * 1000)} ms`,
  ]
  return parts.join(', ')
}

/** `cuda:0 NVIDIA GeForce RTX 4090 : cudaMallocAsync` without torch's allocator. */
function deviceName(name: string | null): string {
  return name?.split(' : ')[0]?.slice(0, 100) ?? 'an unnamed device'
}

function devicesIn(stats: unknown): ServerDevice[] {
  const devices = fields(stats).devices
  if (!Array.isArray(devices)) return []
  return devices.map(fields).flatMap(({ name, type, vram_total, vram_free }): ServerDevice[] => {
    if (typeof name !== 'string' || typeof type !== 'string') return []
    return [{ name: plain(name), type: plain(type), total: bytes(vram_total), free: bytes(vram_free) }]
  })
}

function bytes(value: unknown): number | null {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : null
}

function fields(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}
