import type { Gpu } from '../gpu/gpu.ts'
import type { Check } from './checks.ts'
import { oneLine, showBytes, showValue } from './format.ts'
import { gpuLabel } from './metrics.ts'
import type { HealthReport } from './report.ts'
import type { State } from './state.ts'

/** How a state is coloured; the identity where there is no terminal. */
export type Paint = (state: State, text: string) => string

/** The report for people: a line a finding, its remedy below it, the verdict last. Ends with a newline. */
export function renderText(
  report: HealthReport,
  options: { readonly paint: Paint; readonly verbose: boolean },
): string {
  const line = (state: State, text: string): string => `${options.paint(state, WORDS[state])} ${text}`
  const findings = report.checks.flatMap((check) => [
    line(check.status, subject(check)),
    ...(check.remedy === '' ? [] : [`${INDENT}${oneLine(check.remedy)}`]),
  ])
  const gpus = report.gpus.flatMap((gpu) => [
    `${gpuLabel(gpu).padEnd(8)} ${describe(gpu)}`,
    ...(options.verbose ? (gpu.processes ?? []).map(describeProcess) : []),
  ])
  const none =
    report.gpus.length === 0 && report.servers.length === 0 && report.device.type === 'cpu'
      ? ['no GPU tool found: the device is the CPU']
      : []
  return [...gpus, ...none, ...findings, `${options.paint(report.status, report.status.toUpperCase())}`, ''].join('\n')
}

const WORDS: Readonly<Record<State, string>> = {
  ok: 'ok      ',
  warning: 'warning ',
  critical: 'critical',
  unknown: 'unknown ',
}
const INDENT = ' '.repeat(9)

function subject({ name, target, message }: Check): string {
  if (name === 'server') return oneLine(`${target}: ${message}`)
  return oneLine(`${name}${target === '' ? '' : ` of ${target}`}: ${message}`)
}

function describe(gpu: Gpu): string {
  const { free, total, kind } = gpu.memory
  const memory =
    free !== null && total !== null
      ? `${showBytes(free)} of ${showBytes(total)} free${kind === 'unified' || kind === 'shared' ? ` (${kind})` : ''}`
      : total !== null
        ? `${showBytes(total)}, use not told`
        : 'memory not told'
  const parts = [
    oneLine(gpu.name ?? `${gpu.vendor} GPU`),
    memory,
    ...(gpu.utilizationPercent === null ? [] : [`${showValue(gpu.utilizationPercent, 'gpu_utilization')} busy`]),
    ...(gpu.temperatureC === null ? [] : [showValue(gpu.temperatureC, 'gpu_temperature')]),
    ...(gpu.powerW === null ? [] : [showValue(gpu.powerW, 'gpu_power')]),
    ...(gpu.source === 'ComfyUI' ? ['as ComfyUI says it'] : []),
  ]
  return parts.join(', ')
}

function describeProcess({ pid, name, memory }: NonNullable<Gpu['processes']>[number]): string {
  return `${INDENT}${pid} ${oneLine(name ?? '?')}${memory === null ? '' : `, ${showBytes(memory)}`}`
}
