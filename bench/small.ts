import { type Load, load } from './load.ts'
import { KEY, PEERS } from './peers.ts'
import type { Running } from './process.ts'
import { startUpstream } from './upstream.ts'

export interface Row {
  readonly name: string
  readonly rounds: readonly Load[]
}

/**
 * A small GET with a key, 64 keep-alive connections: the proxy alone on one core, upstream and load on the other. The
 * proxies take turns, `rounds` times, so that the machine's drift falls on all of them.
 */
export async function small(rounds: number, seconds: number): Promise<{ rows: Row[]; absent: string[] }> {
  const upstream = await startUpstream(1)
  const running: { name: string; proxy: Running; rounds: Load[] }[] = []
  try {
    for (const peer of PEERS.filter(({ absent }) => !absent)) {
      running.push({ name: peer.name, proxy: await peer.start(upstream.port, 0), rounds: [] })
    }
    for (let round = 0; round <= rounds; round++) {
      for (const { proxy, rounds: kept } of running) {
        const url = `http://127.0.0.1:${proxy.port}/prompt`
        const headers = { Authorization: `Bearer ${KEY}` }
        const measured = await load({ url, headers, connections: 64, seconds: round === 0 ? 1 : seconds, core: 1 })
        if (round > 0) kept.push(measured) // the first warms the JIT
      }
    }
  } finally {
    await Promise.all([upstream, ...running.map(({ proxy }) => proxy)].map((process) => process.stop()))
  }
  return {
    rows: running.map(({ name, rounds: kept }) => ({ name, rounds: kept })),
    absent: PEERS.flatMap(({ name, absent }) => (absent ? [`${name} (${absent})`] : [])),
  }
}
