import type { Gpu } from '../gpu/gpu.ts'
import { type Check, judge } from './checks.ts'
import type { Collected } from './collect.ts'
import { type Metric, metricsOf, relevantGpus } from './metrics.ts'
import type { ServerReport } from './server.ts'
import { type State, worst } from './state.ts'
import type { Summary } from './summary.ts'
import type { Threshold } from './thresholds.ts'

/** What `health --json` prints beside the schema: the guide's four members, of the first server, and ours. */
export interface HealthReport {
  readonly status: State
  readonly queue: Summary['queue']
  readonly device: Summary['device']
  readonly vram: Summary['vram']
  readonly servers: readonly ServerReport[]
  readonly gpus: readonly Gpu[]
  readonly checks: readonly Check[]
}

/** A report with what the other formats need beside it. */
export interface Judged {
  readonly report: HealthReport
  readonly metrics: readonly Metric[]
  readonly thresholds: readonly Threshold[]
  readonly overran: boolean
}

export function reportOf(collected: Collected, thresholds: readonly Threshold[]): Judged {
  const checks = judge(collected, thresholds)
  const { queue, device, vram } = collected.servers[0]?.summary ?? localSummary(collected)
  const report: HealthReport = {
    status: worst(checks.map(({ status }) => status)),
    queue,
    device,
    vram,
    servers: collected.servers,
    gpus: collected.local?.gpus ?? [],
    checks,
  }
  return { report, metrics: metricsOf(collected), thresholds, overran: collected.overran }
}

const TORCH_TYPES: Readonly<Record<Gpu['vendor'], string>> = { nvidia: 'cuda', amd: 'cuda', intel: 'xpu', apple: 'mps' }

/** Where no server was asked: the GPU a ComfyUI here would take first, or the CPU with main memory, as ComfyUI says it. */
function localSummary({ local }: Collected): Pick<Summary, 'queue' | 'device' | 'vram'> {
  const queue = { pending: null, running: null }
  const gpu = local && relevantGpus(local.gpus)[0]
  if (gpu) {
    const { total, free } = gpu.memory
    return { queue, device: { name: gpu.name, type: TORCH_TYPES[gpu.vendor] }, vram: { total, free } }
  }
  const isCpu = local?.reports.every(({ outcome }) => outcome === 'ok' || outcome === 'no-device') ?? false
  if (!local || !isCpu) return { queue, device: { name: null, type: null }, vram: { total: null, free: null } }
  return { queue, device: { name: 'cpu', type: 'cpu' }, vram: { ...local.memory } }
}
