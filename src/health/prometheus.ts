import { oneLine } from './format.ts'
import type { Judged } from './report.ts'
import { STATE_CODES, type State } from './state.ts'
import type { Summary } from './summary.ts'

interface Family {
  readonly name: string
  readonly type: 'gauge' | 'counter'
  readonly help: string
  readonly series: { readonly labels: Labels; readonly value: number }[]
}

type Labels = Readonly<Record<string, string>>

/**
 * The text format for node_exporter's textfile collector: no timestamps, base units, ratios from 0 to 1, and for an
 * absent value no series. `nowMs` is the time of the run.
 */
export function renderPrometheus({ report, overran }: Judged, nowMs: number): string {
  const families = new Map<string, Family>()
  const add = (
    name: string,
    help: string,
    labels: Labels,
    value: number | null,
    type: Family['type'] = 'gauge',
  ): void => {
    const family = families.get(name) ?? { name: `comfy_auth_${name}`, type, help, series: [] }
    families.set(name, family)
    if (value !== null) family.series.push({ labels, value })
  }
  for (const { url, state, summary, responseSeconds, version } of report.servers) {
    add('server_up', 'Whether a ComfyUI answers there.', { url }, upOf(state, summary.status))
    add(
      'server_info',
      'Version and device of the server.',
      {
        url,
        version: version ?? '',
        device: summary.device.name ?? '',
        type: summary.device.type ?? '',
      },
      summary.status === 'ok' ? 1 : null,
    )
    add('response_seconds', 'Time until the first answer.', { url }, responseSeconds)
    add('queue_pending_prompts', 'Prompts waiting.', { url }, summary.queue.pending)
    add('queue_running_prompts', 'Prompts running.', { url }, summary.queue.running)
    add('vram_total_bytes', "Memory of ComfyUI's device.", { url }, summary.vram.total)
    add('vram_free_bytes', "Free memory of ComfyUI's device.", { url }, summary.vram.free)
  }
  for (const gpu of report.gpus) {
    const slice: Labels = gpu.slice === null ? {} : { slice: String(gpu.slice) }
    const labels = { gpu: String(gpu.index), uuid: gpu.uuid ?? `${gpu.vendor}-${gpu.index}`, ...slice }
    add(
      'gpu_info',
      'What this GPU is.',
      {
        ...labels,
        name: gpu.name ?? '',
        driver: gpu.driver ?? '',
        vendor: gpu.vendor,
        memory: gpu.memory.kind,
      },
      1,
    )
    add('gpu_memory_total_bytes', 'Memory of the GPU.', labels, gpu.memory.total)
    add('gpu_memory_used_bytes', 'Used memory of the GPU.', labels, gpu.memory.used)
    add('gpu_memory_free_bytes', 'Free memory of the GPU.', labels, gpu.memory.free)
    add('gpu_utilization_ratio', 'How busy the GPU is.', labels, ratio(gpu.utilizationPercent))
    add('gpu_temperature_celsius', 'Temperature of the GPU.', labels, gpu.temperatureC)
    add('gpu_memory_temperature_celsius', 'Temperature of its memory.', labels, gpu.memoryTemperatureC)
    add('gpu_fan_ratio', 'Fan speed.', labels, ratio(gpu.fanPercent))
    add('gpu_power_watts', 'Power drawn.', labels, gpu.powerW)
    add('gpu_ecc_uncorrected_errors_total', 'Since the driver was loaded.', labels, gpu.eccErrors, 'counter')
    add('gpu_processes', 'Processes on the GPU.', labels, gpu.processes?.length ?? null)
  }
  for (const { name, target, status } of report.checks) {
    add('check_state', '0 ok, 1 warning, 2 critical, 3 unknown.', { check: name, target }, STATE_CODES[status])
  }
  add('health_state', 'The exit code: 0 ok, 1 warning, 2 critical, 3 unknown.', {}, STATE_CODES[report.status])
  add('last_run_timestamp_seconds', 'When this was measured.', {}, Math.floor(nowMs / 1000))
  add('last_run_success', 'Whether the run ended within its own deadline.', {}, overran ? 0 : 1)
  return [...families.values()]
    .filter(({ series }) => series.length > 0)
    .map(renderFamily)
    .join('')
}

function renderFamily({ name, type, help, series }: Family): string {
  const seen = new Map<string, number>() // one line a series: a second one would void the whole file
  for (const { labels, value } of series) seen.set(`${name}${renderLabels(labels)}`, value)
  const lines = [...seen].map(([key, value]) => `${key} ${value}\n`)
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join('')}`
}

function renderLabels(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escaped(oneLine(value))}"`)
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`
}

function escaped(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"')
}

/** 1, 0, or null where a server answers and will not say (a key it does not take). */
function upOf(state: State, status: Summary['status']): number | null {
  if (status === 'ok') return state === 'critical' ? 0 : 1
  return state === 'unknown' ? null : 0
}

function ratio(percent: number | null): number | null {
  return percent === null ? null : percent / 100
}
