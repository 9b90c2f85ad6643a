import { isLoopback, parseIp } from '../decide/address.ts'
import type { Upstream } from './upstream.ts'

export type UpstreamReport =
  | { readonly state: 'down'; readonly reason: string }
  /** Something answers, and it is no ComfyUI. */
  | { readonly state: 'stranger' }
  /** `exposed`: it listens beyond loopback itself, so that the lock can be gone round. */
  | { readonly state: 'comfyui'; readonly version: string | undefined; readonly exposed: boolean }

/** Looks at the upstream once, for the words at serve's start. Never throws. */
export async function probe(upstream: Upstream): Promise<UpstreamReport> {
  let answer: { status: number; body: Buffer }
  try {
    answer = await upstream.ask('/system_stats', { timeoutMs: 3_000 })
  } catch (error) {
    return { state: 'down', reason: upstream.reasonOf(error) || 'no answer' }
  }
  let stats: unknown
  try {
    stats = JSON.parse(answer.body.toString())
  } catch {
    return { state: 'stranger' }
  }
  const system = isRecord(stats) ? stats.system : undefined
  if (answer.status !== 200 || !isRecord(stats) || !isRecord(system) || !Array.isArray(stats.devices)) {
    return { state: 'stranger' }
  }
  const version = typeof system.comfyui_version === 'string' ? system.comfyui_version : undefined
  return { state: 'comfyui', version, exposed: listensBeyondLoopback(system.argv) }
}

/** ComfyUI tells its whole command line: `--listen` alone, or with an address that is not loopback. */
function listensBeyondLoopback(argv: unknown): boolean {
  if (!Array.isArray(argv)) return false
  const words = argv.filter((word) => typeof word === 'string')
  const at = words.findIndex((word) => word === '--listen' || word.startsWith('--listen='))
  if (at === -1) return false
  const value = words[at]!.startsWith('--listen=') ? words[at]!.slice('--listen='.length) : words[at + 1]
  if (value === undefined || value.startsWith('-')) return true
  return value.split(',').some((part) => {
    const address = parseIp(part.trim())
    return part.trim() !== 'localhost' && (address === undefined || !isLoopback(address))
  })
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
