import type { Gpu, Outcome, ToolReport } from '../gpu/gpu.ts'
import { type Collected, isLocal } from './collect.ts'
import { showValue } from './format.ts'
import { gpuLabel, METRICS, type Metric, metricsOf } from './metrics.ts'
import { alerts, formatRange, wordRange } from './range.ts'
import type { State } from './state.ts'
import type { Threshold } from './thresholds.ts'

/** One judgement: of a server, a GPU tool, a GPU's own complaint, or a value with a threshold. */
export interface Check {
  /** `server`, `gpu_tool`, `gpu_fault`, `gpu_missing`, `deadline`, or a name of METRICS. */
  readonly name: string
  /** Server address, `gpu0`, tool; empty for the machine. */
  readonly target: string
  readonly status: State
  readonly message: string
  /** What to do; empty where nothing needs doing. */
  readonly remedy: string
  readonly value: number | null
  readonly unit: string
  readonly warn: string | null
  readonly crit: string | null
}

const OUTCOMES: Readonly<Record<Exclude<Outcome, 'absent'>, State>> = {
  ok: 'ok',
  'no-device': 'ok',
  degraded: 'warning',
  hung: 'critical',
  lost: 'critical',
  driver: 'critical',
  denied: 'unknown',
  unreadable: 'unknown',
}

/** Everything there is to say about what was collected, servers first. */
export function judge(collected: Collected, thresholds: readonly Threshold[]): Check[] {
  const { servers, local, overran } = collected
  return [
    ...servers.map(({ url, state, message, remedy }) => check('server', url, state, message, remedy)),
    ...(local?.reports ?? []).filter(({ outcome }) => outcome !== 'ok').map(toolCheck),
    ...(local?.gpus ?? []).flatMap(faultChecks),
    ...missingGpu(collected),
    ...thresholds.flatMap((threshold) => thresholdChecks(threshold, metricsOf(collected))),
    ...(overran
      ? [check('deadline', '', 'unknown', 'a part did not end in time', 'Give it more time: --timeout.')]
      : []),
  ]
}

function toolCheck({ tool, outcome, message, remedy }: ToolReport): Check {
  const state = outcome === 'absent' ? 'ok' : OUTCOMES[outcome]
  return check('gpu_tool', tool, state, message, remedy)
}

function faultChecks(gpu: Gpu): Check[] {
  return gpu.faults.map(({ severity, message }) => check('gpu_fault', gpuLabel(gpu), severity, message, ''))
}

/** ComfyUI computes on a GPU of this machine that no tool here shows: the tool is missing, and nobody watches the GPU. */
function missingGpu({ servers, local }: Collected): Check[] {
  if (!local || local.gpus.some(({ vendor }) => vendor === 'nvidia' || vendor === 'amd')) return []
  if (local.reports.some(({ outcome }) => outcome !== 'ok' && outcome !== 'no-device')) return []
  return servers
    .filter(({ url, summary }) => isLocal(url) && summary.device.type === 'cuda')
    .map(({ url }) => {
      const message = 'ComfyUI computes on a GPU that no tool on this machine shows'
      return check('gpu_missing', url, 'warning', message, 'Install nvidia-smi (or amd-smi), or use --no-local.')
    })
}

/** A threshold on a value that is absent is UNKNOWN: nobody may take it for kept. */
function thresholdChecks(threshold: Threshold, metrics: readonly Metric[]): Check[] {
  const { name, warn, crit } = threshold
  const { unit } = METRICS[name]
  const ranges = { warn: warn ? formatRange(warn) : null, crit: crit ? formatRange(crit) : null }
  const found = metrics.filter((metric) => metric.name === name)
  if (found.length === 0) {
    const message = METRICS[name].of === 'server' ? 'no server was asked' : 'no GPU was found'
    return [{ ...check(name, '', 'unknown', message, ''), unit, ...ranges }]
  }
  return found.map(({ target, value }): Check => {
    if (value === null) return { ...check(name, target, 'unknown', 'not known', ''), unit, ...ranges }
    const broken = crit && alerts(crit, value) ? crit : warn && alerts(warn, value) ? warn : undefined
    const state = broken === undefined ? 'ok' : broken === crit ? 'critical' : 'warning'
    const show = (number: number): string => showValue(number, name)
    const message = broken ? `${show(value)}, should be ${wordRange(broken, show)}` : show(value)
    return { ...check(name, target, state, message, ''), value, unit, ...ranges }
  })
}

function check(name: string, target: string, status: State, message: string, remedy: string): Check {
  return { name, target, status, message, remedy, value: null, unit: '', warn: null, crit: null }
}
