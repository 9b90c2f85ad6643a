import type { Gpu } from '../gpu/gpu.ts'
import type { Collected } from './collect.ts'
import type { ServerReport } from './server.ts'

/** Base units: bytes, percent, seconds, a counter that only rises, or a bare number (degrees Celsius, watts, a count). */
export type Unit = 'B' | '%' | 's' | 'c' | ''

/** Every value that `--warn` and `--crit` can name. The keys are the names; docs/health.md lists them. */
export const METRICS = {
  response_time: { of: 'server', unit: 's', what: 'seconds until the server answered' },
  queue_pending: { of: 'server', unit: '', what: 'prompts waiting' },
  queue_running: { of: 'server', unit: '', what: 'prompts running, 0 or 1' },
  vram_free: { of: 'server', unit: 'B', what: "free memory of ComfyUI's device" },
  vram_free_percent: { of: 'server', unit: '%', what: 'the same, of its total' },
  gpu_count: { of: 'machine', unit: '', what: 'GPUs found on this machine' },
  gpu_memory_free: { of: 'memory', unit: 'B', what: 'free memory of a GPU or MIG slice' },
  gpu_memory_free_percent: { of: 'memory', unit: '%', what: 'the same, of its total' },
  gpu_memory_used: { of: 'memory', unit: 'B', what: 'used memory of a GPU or MIG slice' },
  gpu_memory_used_percent: { of: 'memory', unit: '%', what: 'the same, of its total' },
  gpu_utilization: { of: 'gpu', unit: '%', what: 'how busy a GPU is' },
  gpu_temperature: { of: 'gpu', unit: '', what: 'degrees Celsius' },
  gpu_memory_temperature: { of: 'gpu', unit: '', what: 'degrees Celsius of its memory' },
  gpu_fan: { of: 'gpu', unit: '%', what: 'fan speed' },
  gpu_power: { of: 'gpu', unit: '', what: 'watts' },
  gpu_ecc_errors: { of: 'gpu', unit: 'c', what: 'uncorrected memory errors since the driver was loaded' },
  gpu_processes: { of: 'gpu', unit: '', what: 'processes on a GPU' },
} as const satisfies Record<string, { of: 'server' | 'machine' | 'memory' | 'gpu'; unit: Unit; what: string }>

export type MetricName = keyof typeof METRICS

/** One measured value, or the knowledge that there is none. */
export interface Metric {
  readonly name: MetricName
  readonly unit: Unit
  /** The server's address or `gpu0`, `gpu0/1` for a MIG slice; empty for the machine. */
  readonly target: string
  readonly value: number | null
  /** The largest it could be; null where there is no such thing. */
  readonly max: number | null
}

/** Everything that thresholds, perfdata and the text can speak of, servers first. */
export function metricsOf({ servers, local }: Collected): Metric[] {
  const relevant = local ? relevantGpus(local.gpus) : []
  const sliced = new Set(relevant.filter(({ slice }) => slice !== null).map(({ index, vendor }) => `${vendor}${index}`))
  const metrics = servers.flatMap(serverMetrics)
  if (local) {
    metrics.push(metric('gpu_count', '', local.gpus.filter(({ slice }) => slice === null).length))
  }
  for (const gpu of relevant) {
    // who works on a slice has the slice's memory; load, heat and power are the whole card's
    if (gpu.slice !== null || !sliced.has(`${gpu.vendor}${gpu.index}`)) metrics.push(...memoryMetrics(gpu))
    if (gpu.slice === null) metrics.push(...gpuMetrics(gpu))
  }
  return metrics
}

/** An integrated GPU beside a card is not what anyone computes on: it is shown, and no threshold looks at it. */
export function relevantGpus(gpus: readonly Gpu[]): Gpu[] {
  const own = gpus.filter(({ memory }) => memory.kind !== 'shared')
  return own.length > 0 ? own : [...gpus]
}

/** `gpu0`, `gpu0/1` for a slice; vendors are named where two of them share a number. */
export function gpuLabel(gpu: Gpu): string {
  const vendor = gpu.vendor === 'nvidia' ? '' : `${gpu.vendor}_`
  return `${vendor}gpu${gpu.index}${gpu.slice === null ? '' : `/${gpu.slice}`}`
}

function serverMetrics({ url, summary, responseSeconds }: ServerReport): Metric[] {
  const { queue, vram } = summary
  return [
    metric('response_time', url, responseSeconds),
    metric('queue_pending', url, queue.pending),
    metric('queue_running', url, queue.running),
    metric('vram_free', url, vram.free, vram.total),
    metric('vram_free_percent', url, percent(vram.free, vram.total), 100),
  ]
}

function memoryMetrics(gpu: Gpu): Metric[] {
  const { total, used, free } = gpu.memory
  const target = gpuLabel(gpu)
  return [
    metric('gpu_memory_free', target, free, total),
    metric('gpu_memory_free_percent', target, percent(free, total), 100),
    metric('gpu_memory_used', target, used, total),
    metric('gpu_memory_used_percent', target, percent(used, total), 100),
  ]
}

function gpuMetrics(gpu: Gpu): Metric[] {
  const target = gpuLabel(gpu)
  return [
    metric('gpu_utilization', target, gpu.utilizationPercent, 100),
    metric('gpu_temperature', target, gpu.temperatureC),
    metric('gpu_memory_temperature', target, gpu.memoryTemperatureC),
    metric('gpu_fan', target, gpu.fanPercent, 100),
    metric('gpu_power', target, gpu.powerW),
    metric('gpu_ecc_errors', target, gpu.eccErrors),
    metric('gpu_processes', target, gpu.processes?.length ?? null),
  ]
}

function metric(name: MetricName, target: string, value: number | null, max: number | null = null): Metric {
  return { name, unit: METRICS[name].unit, target, value, max }
}

function percent(part: number | null, whole: number | null): number | null {
  if (part === null || whole === null || whole === 0) return null
  return Math.round((part / whole) * 10_000) / 100
}
