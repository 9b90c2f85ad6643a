import type { Check } from './checks.ts'
import { oneLine } from './format.ts'
import { METRICS, type Metric, type MetricName } from './metrics.ts'
import { formatRange, plain } from './range.ts'
import type { Judged } from './report.ts'
import type { Threshold } from './thresholds.ts'

/**
 * The answer of a monitoring plugin: status first, one line, perfdata behind `|`. `verbose` puts every check on a line of
 * its own below, which monitoring systems show as the long text. Ends with a newline.
 */
export function renderNagios(judged: Judged, verbose: boolean): string {
  const { report, metrics, thresholds } = judged
  const data = perfdata(metrics, thresholds, report.servers.length > 1)
  const first = `${report.status.toUpperCase()} - ${summaryLine(judged)}${data === '' ? '' : ` | ${data}`}`
  const long = verbose ? report.checks.map((check) => `${check.status.toUpperCase()} ${sentence(check)}`) : []
  return `${[first, ...long].join('\n')}\n`
}

/** What is wrong, the worst first; or, if nothing is, what was seen. */
function summaryLine({ report }: Judged): string {
  const bad = report.checks.filter(({ status }) => status !== 'ok')
  const worstFirst = bad.toSorted((a, b) => Number(b.status === report.status) - Number(a.status === report.status))
  if (bad.length > 0) return worstFirst.map(sentence).join('; ')
  const seen = [
    ...report.servers.map(({ url, message }) => clean(`${url}: ${message}`)),
    ...(report.gpus.length > 0
      ? [`${report.gpus.length} ${report.gpus.length === 1 ? 'GPU' : 'GPUs and slices'}`]
      : []),
  ]
  return seen.length > 0 ? seen.join('; ') : 'no GPU tool here, computing on the CPU'
}

function sentence({ name, target, message }: Check): string {
  return clean(`${[name, target].filter(Boolean).join(' of ')}: ${message}`)
}

/** `|` begins perfdata, so no text of others may hold one; and of our own only ASCII, whatever carries it. */
function clean(text: string): string {
  return oneLine(text).replaceAll('|', '/').replaceAll('°C', 'C')
}

/** `'label'=value[UOM];warn;crit;min;max`, absent values left out. C locale by construction: numbers are JavaScript's. */
function perfdata(metrics: readonly Metric[], thresholds: readonly Threshold[], severalServers: boolean): string {
  return metrics
    .flatMap((metric) => {
      if (metric.value === null) return []
      const threshold = thresholds.find(({ name }) => name === metric.name)
      const warn = threshold?.warn ? formatRange(threshold.warn) : ''
      const crit = threshold?.crit ? formatRange(threshold.crit) : ''
      const max = metric.max === null ? '' : plain(metric.max)
      const cells = [`${plain(metric.value)}${metric.unit}`, warn, crit, metric.unit === '' ? '' : '0', max]
      return [`'${label(metric, severalServers)}'=${cells.join(';').replace(/;+$/, '')}`]
    })
    .join(' ')
}

/** `queue_pending`, `gpu0_temperature`, and with several servers `queue_pending 10.0.0.2:8189`. */
function label({ name, target }: Metric, severalServers: boolean): string {
  const { of } = METRICS[name as MetricName]
  if (of === 'machine') return name
  if (of === 'server')
    return severalServers ? `${name} ${(URL.parse(target)?.host ?? target).replaceAll(/[='|]/g, '_')}` : name
  return `${target}_${name.replace(/^gpu_/, '')}`
}
