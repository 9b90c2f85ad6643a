export type Labels = Readonly<Record<string, string>>

export interface Metrics {
  /** Adds one to `comfy_auth_NAME_total` with these labels: of a known, small set of values, never a path or an address. */
  count(name: string, labels?: Labels): void
  /** In Prometheus' text format 0.0.4. */
  text(): string
}

/** `gauges`: read when the text is asked for, such as sessions and open sockets. */
export function createMetrics(gauges: Readonly<Record<string, () => number>>): Metrics {
  const counters = new Map<string, Map<string, number>>()

  return {
    count(name, labels = {}) {
      const series = counters.get(name) ?? new Map<string, number>()
      counters.set(name, series)
      const key = labelText(labels)
      series.set(key, (series.get(key) ?? 0) + 1)
    },
    text() {
      const lines: string[] = []
      for (const [name, series] of counters) {
        lines.push(`# TYPE comfy_auth_${name}_total counter`)
        for (const [labels, value] of series) lines.push(`comfy_auth_${name}_total${labels} ${value}`)
      }
      for (const [name, read] of Object.entries(gauges)) {
        lines.push(`# TYPE comfy_auth_${name} gauge`, `comfy_auth_${name} ${read()}`)
      }
      return `${lines.join('\n')}\n`
    },
  }
}

function labelText(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${value.replace(/[\\"\n]/g, escaped)}"`)
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`
}

function escaped(char: string): string {
  return char === '\n' ? '\\n' : `\\${char}`
}
