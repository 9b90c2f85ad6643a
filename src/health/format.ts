import { METRICS, type MetricName } from './metrics.ts'

const DEGREES: readonly string[] = ['gpu_temperature', 'gpu_memory_temperature']

/** A value of a metric for people: `15.0 GiB`, `20 %`, `43 °C`, `84.2 W`, `12 ms`. */
export function showValue(value: number, name: MetricName): string {
  if (DEGREES.includes(name)) return `${round(value)} °C`
  if (name === 'gpu_power') return `${round(value)} W`
  const { unit } = METRICS[name]
  if (unit === 'B') return showBytes(value)
  if (unit === '%') return `${round(value)} %`
  if (unit === 's') return value < 1 ? `${Math.round(value * 1000)} ms` : `${round(value)} s`
  return String(value)
}

export function showBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log2(Math.max(1, Math.abs(bytes))) / 10)))
  return `${round(bytes / 1024 ** power)} ${units[power]}`
}

/** One decimal at most. */
function round(value: number): string {
  return String(Math.round(value * 10) / 10)
}

/** Text of others (names of GPUs, of processes) for one line of a terminal: no control characters. */
export function oneLine(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, ' ').trim()
}
