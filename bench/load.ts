import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

export interface Load {
  readonly requestsPerSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly requests: number
  /** Answers that were not 2xx or 3xx. */
  readonly refusals: number
  /** Connections that could not be made, broke or timed out. */
  readonly socketErrors: number
}

export interface LoadOptions {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly connections: number
  readonly seconds: number
  readonly core: number
}

/** One run of wrk, one thread, pinned to `core`. */
export async function load({ url, headers, connections, seconds, core }: LoadOptions): Promise<Load> {
  const wrk = ['wrk', '-t1', `-c${connections}`, `-d${seconds}s`, '--latency']
  const sent = Object.entries(headers).flatMap(([name, value]) => ['-H', `${name}: ${value}`])
  const { stdout } = await promisify(execFile)('taskset', ['-c', String(core), ...wrk, ...sent, url])
  return parse(stdout)
}

const UNITS: Readonly<Record<string, number>> = { us: 0.001, ms: 1, s: 1_000, m: 60_000 }

function parse(output: string): Load {
  const percentile = (p: number): number => {
    const [, value, unit] = output.match(new RegExp(`^\\s+${p}%\\s+([\\d.]+)(us|ms|s|m)$`, 'm'))!
    return Number(value) * UNITS[unit!]!
  }
  const broken = output.match(/Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/)
  return {
    requestsPerSecond: Number(output.match(/Requests\/sec:\s+([\d.]+)/)![1]),
    p50Ms: percentile(50),
    p99Ms: percentile(99),
    requests: Number(output.match(/(\d+) requests in/)![1]),
    refusals: Number(output.match(/Non-2xx or 3xx responses: (\d+)/)?.[1] ?? 0),
    socketErrors: broken?.slice(1).reduce((sum, count) => sum + Number(count), 0) ?? 0,
  }
}
