import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { digestOf } from '../../src/keys/digest.ts'
import { makeKey } from '../../src/keys/format.ts'
import { freePort, isInstalled, type Running, startPinned, temporaryFolder } from '../process.ts'
import { HTTP1 } from './http1.ts'
import { HTTP2 } from './http2.ts'
import type { Measured } from './polite.ts'

const FLOODS = { ...HTTP1, ...HTTP2 }

/** The proxy's core, and the one of all others. */
const OWN_CORE = 0
const OTHER_CORE = 1
/** Connections that the flood left have to be gone by then. */
const SETTLE_MS = 5_000

interface State {
  readonly rssMb: number
  readonly fds: number
  /** Seconds of CPU used so far. */
  readonly cpu: number
}

export interface FloodResult {
  readonly flood: string
  readonly alone: { readonly p50Ms: number; readonly p99Ms: number }
  readonly under: { readonly p50Ms: number; readonly p99Ms: number; readonly maxMs: number }
  /** Of the p99s. */
  readonly ratio: number
  readonly asked: number
  readonly wrong: number
  readonly missing: number
  /** Of the proxy's core, by the flood and the client together. */
  readonly cpuPercent: number
  readonly rssMb: { readonly before: number; readonly peak: number; readonly after: number }
  readonly fds: { readonly before: number; readonly peak: number; readonly after: number }
  readonly alive: boolean
  /** What the attacker opened, sent and heard in the last round. */
  readonly attacker: Readonly<Record<string, number>>
}

export const floodNames = Object.keys(FLOODS)

function read(pid: number): State {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1')
  const times = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]!.split(' ')
  return {
    rssMb: Number(/VmRSS:\s+(\d+)/.exec(status)![1]) / 1_024,
    fds: readdirSync(`/proc/${pid}/fd`).length,
    cpu: (Number(times[11]) + Number(times[12])) / 100,
  }
}

/** A script of ours on the other core, spoken to by messages; the attacker yields to others there. */
async function helper(script: 'polite.ts' | 'attacker.ts', args: readonly string[]): Promise<ChildProcess> {
  const nice = script === 'attacker.ts' ? '19' : '0'
  const pinned = ['nice', '-n', nice, 'taskset', '-c', String(OTHER_CORE)]
  const command = [...pinned, process.execPath, resolve(`bench/floods/${script}`), ...args]
  const child = spawn(command[0]!, command.slice(1), { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  await once(child, 'message')
  return child
}

async function ask<T>(child: ChildProcess, message: unknown): Promise<T> {
  const answer = once(child, 'message')
  child.send(message as object)
  return ((await answer) as [T])[0]
}

interface Served {
  readonly proxy: Running
  /** Of the client, and of the attacker who was let in. */
  readonly keys: { readonly polite: string; readonly attacker: string }
}

async function serve(upstreamPort: number, http2: boolean): Promise<Served> {
  const port = await freePort()
  const dir = temporaryFolder()
  const keys = { polite: makeKey(), attacker: makeKey() }
  const record = (key: string, role: string, id: string) => {
    return { id, role, created: new Date().toISOString(), sha256: digestOf(key) }
  }
  const records = [record(keys.polite, 'user', 'polite000000'), record(keys.attacker, 'user', 'attacker0000')]
  writeFileSync(join(dir, 'keyring.json'), JSON.stringify({ version: 1, keys: records }), { mode: 0o600 })
  const command = [process.execPath, resolve('bin/run.js'), 'serve', '--port', `${port}`]
  const upstream = ['--upstream', `http://127.0.0.1:${upstreamPort}`, ...(http2 ? ['--tls-self-signed'] : [])]
  const proxy = await startPinned(OWN_CORE, ['env', `COMFY_AUTH_HOME=${dir}`, ...command, ...upstream], port)
  return { proxy, keys }
}

const at = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
const median = (values: readonly number[]): number =>
  at(
    values.toSorted((a, b) => a - b),
    0.5,
  )
const percentile = (rounds: readonly Measured[], share: number): number =>
  median(
    rounds.map(({ ms }) =>
      at(
        ms.toSorted((a, b) => a - b),
        share,
      ),
    ),
  )

/** The connections of a flood are gone: whatever is left after SETTLE_MS stays in the figures. */
async function settled(pid: number, fds: number): Promise<State> {
  const deadline = Date.now() + SETTLE_MS
  while (read(pid).fds > fds && Date.now() < deadline) await delay(100)
  return read(pid)
}

/**
 * One flood against one fresh serve: the client alone, then under the flood, in turns, so that the machine's drift falls on
 * both. The proxy has a core of its own; upstream, client and attacker share the other one, in which the attacker takes what the
 * two leave: a client's machine is not its attacker's, and how long it waited for its own core is no fault of the proxy's.
 */
async function measure(flood: string, rounds: number, seconds: number, upstreamPort: number): Promise<FloodResult> {
  const http2 = FLOODS[flood]!.http2 === true
  const { proxy, keys } = await serve(upstreamPort, http2)
  const { port, pid } = proxy
  const polite = await helper('polite.ts', [`${port}`, keys.polite, `${http2}`])
  try {
    await ask(polite, 2) // it warms up
    const before = read(pid)
    const alone: Measured[] = []
    const under: Measured[] = []
    const cpu: number[] = []
    let peak = before
    let attackerCounts: Record<string, number> = {}
    let after = before
    for (let round = 0; round < rounds; round++) {
      alone.push(await ask<Measured>(polite, seconds))
      const watch = setInterval(() => {
        const now = read(pid)
        peak = { ...now, rssMb: Math.max(peak.rssMb, now.rssMb), fds: Math.max(peak.fds, now.fds) }
      }, 100)
      try {
        const attacker = await helper('attacker.ts', [flood, `${port}`, keys.attacker])
        const from = { cpu: read(pid).cpu, ms: performance.now() }
        under.push(await ask<Measured>(polite, seconds))
        cpu.push(((read(pid).cpu - from.cpu) * 100_000) / (performance.now() - from.ms))
        attackerCounts = await ask(attacker, 'end')
        if (attacker.exitCode === null) await once(attacker, 'exit')
      } finally {
        clearInterval(watch)
      }
      after = await settled(pid, before.fds)
    }
    const p99 = { alone: percentile(alone, 0.99), under: percentile(under, 0.99) }
    return {
      flood,
      alone: { p50Ms: percentile(alone, 0.5), p99Ms: p99.alone },
      under: { p50Ms: percentile(under, 0.5), p99Ms: p99.under, maxMs: percentile(under, 1) },
      ratio: p99.under / p99.alone,
      asked: under.reduce((sum, { ms }) => sum + ms.length, 0),
      wrong: [...alone, ...under].reduce((sum, one) => sum + one.wrong, 0),
      missing: [...alone, ...under].reduce((sum, one) => sum + one.missing, 0),
      cpuPercent: median(cpu),
      rssMb: { before: before.rssMb, peak: peak.rssMb, after: after.rssMb },
      fds: { before: before.fds, peak: peak.fds, after: after.fds },
      alive: (await fetchHealth(port, http2)) === 200,
      attacker: attackerCounts,
    }
  } finally {
    polite.disconnect()
    await proxy.stop()
  }
}

async function fetchHealth(port: number, http2: boolean): Promise<number | undefined> {
  const { request } = http2 ? await import('node:https') : await import('node:http')
  const asked = request({ host: '127.0.0.1', port, path: '/auth_login.html', rejectUnauthorized: false, agent: false })
  asked.end()
  try {
    const [answer] = await once(asked, 'response')
    answer.resume()
    return answer.statusCode
  } catch {
    return undefined
  }
}

function line(result: FloodResult): string {
  const { flood, alone, under, ratio, asked, wrong, missing, cpuPercent, rssMb, fds, alive } = result
  const three = (of: FloodResult['fds']) => [of.before, of.peak, of.after].map(Math.round).join(' / ')
  const times = [alone.p99Ms, under.p50Ms, under.p99Ms, under.maxMs].map((ms) => ms.toFixed(1))
  const cells = [
    flood,
    ...times,
    `${ratio.toFixed(1)}x`,
    `${wrong} + ${missing} of ${asked}`,
    `${Math.round(cpuPercent)} %`,
  ]
  return `| ${[...cells, three(rssMb), three(fds), alive ? 'yes' : 'NO'].join(' | ')} |`
}

/** `npm run bench -- floods [FLOOD...]`: prints a row for each as it comes. */
export async function floods(names: readonly string[], rounds: number, seconds: number): Promise<FloodResult[]> {
  if (!isInstalled('taskset')) throw new Error('The floods need taskset. On Debian: apt-get install util-linux')
  const upstreamPort = await freePort()
  const script = resolve('bench/floods/upstream.ts')
  const upstream = await startPinned(OTHER_CORE, [process.execPath, script, `${upstreamPort}`], upstreamPort)
  const results: FloodResult[] = []
  try {
    console.log(`\nUnder attack: ${rounds} rounds of ${seconds} s alone and ${seconds} s under the flood, in turns\n`)
    console.log(
      '| flood | p99 alone, ms | p50 | p99 | max | p99 ratio | wrong + missing | CPU | RSS MB before / peak / after | fds before / peak / after | alive |',
    )
    console.log('|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|')
    for (const name of names) {
      const result = await measure(name, rounds, seconds, upstreamPort)
      results.push(result)
      console.log(line(result))
    }
  } finally {
    await upstream.stop()
  }
  return results
}
