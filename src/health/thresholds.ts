import { ComfyAuthError } from '../errors.ts'
import { METRICS, type MetricName, type Unit } from './metrics.ts'
import { parseRange, type Range } from './range.ts'

/** What one value must keep to. */
export interface Threshold {
  readonly name: MetricName
  readonly warn: Range | undefined
  readonly crit: Range | undefined
}

export interface ThresholdFlags {
  /** `NAME=RANGE`, repeated. */
  readonly warn: readonly string[]
  readonly crit: readonly string[]
  /** `4GiB` or `20%`: of each server asked, else of each GPU here. */
  readonly minFreeVram: string | undefined
  readonly maxPending: number | undefined
  readonly hasServers: boolean
}

/** The thresholds in the order of METRICS; a name given twice for one severity keeps the later range. Throws `usage`. */
export function readThresholds(flags: ThresholdFlags): Threshold[] {
  const warn = new Map(flags.warn.map((text) => assignment(text, '--warn')))
  const crit = new Map<MetricName, Range>()
  if (flags.minFreeVram !== undefined) {
    const name = freeVram(flags.minFreeVram.endsWith('%'), flags.hasServers)
    crit.set(name, least(flags.minFreeVram, METRICS[name].unit))
  }
  if (flags.maxPending !== undefined) crit.set('queue_pending', { start: 0, end: flags.maxPending, inside: false })
  for (const text of flags.crit) crit.set(...assignment(text, '--crit'))
  return (Object.keys(METRICS) as MetricName[])
    .filter((name) => warn.has(name) || crit.has(name))
    .map((name) => ({ name, warn: warn.get(name), crit: crit.get(name) }))
}

/**
 * ComfyUI's own figure where a server is asked: what torch holds in reserve is free to ComfyUI and used to every tool,
 * and only the server knows which GPU it computes on.
 */
function freeVram(isPercent: boolean, hasServers: boolean): MetricName {
  if (hasServers) return isPercent ? 'vram_free_percent' : 'vram_free'
  return isPercent ? 'gpu_memory_free_percent' : 'gpu_memory_free'
}

function least(text: string, unit: Unit): Range {
  try {
    const range = parseRange(`${text}:`, unit)
    if (text.includes(':') || range.inside || range.start < 0 || !Number.isFinite(range.start)) throw new Error(unit)
    return range
  } catch {
    throw new ComfyAuthError('usage', '--min-free-vram is neither a size nor a percentage.', {
      remedy: 'Write it as 4GiB, 512MiB or 20%.',
    })
  }
}

function assignment(text: string, flag: string): [MetricName, Range] {
  const at = text.indexOf('=')
  const name = at < 0 ? text : text.slice(0, at)
  if (!isMetric(name)) {
    throw new ComfyAuthError('usage', `${flag} does not begin with the name of a check.`, {
      remedy: `Write NAME=RANGE with one of: ${Object.keys(METRICS).join(', ')}.`,
    })
  }
  try {
    return [name, parseRange(at < 0 ? '' : text.slice(at + 1), METRICS[name].unit)]
  } catch (error) {
    if (!(error instanceof ComfyAuthError)) throw error
    throw new ComfyAuthError('usage', `${flag} ${name}: that is not a range.`, { remedy: error.remedy })
  }
}

function isMetric(name: string): name is MetricName {
  return Object.hasOwn(METRICS, name)
}
