import { type Load, load } from './load.ts'
import type { Running } from './process.ts'
import { startUpstream } from './upstream.ts'

export interface Contender {
  readonly name: string
  /** Why it cannot run here, or undefined. */
  readonly absent: string | undefined
  start(upstreamPort: number, core: number): Promise<Running>
  readonly headers: Readonly<Record<string, string>>
}

export interface Case {
  readonly title: string
  /** The row that the others are measured against. */
  readonly ours: string
  readonly contenders: readonly Contender[]
  /** Every answer must be a refusal; else every one must be a success. */
  readonly refused: boolean
}

export interface Row {
  readonly name: string
  readonly rounds: readonly Load[]
}

const WARM_UP_SECONDS = 1

/**
 * GET /prompt over 64 keep-alive connections: the proxy alone on one core, upstream and load on the other. They take
 * turns, `rounds` times, so that the machine's drift falls on all of them.
 */
export async function compare({ contenders }: Case, rounds: number, seconds: number): Promise<Row[]> {
  const upstream = await startUpstream(1)
  const running: { contender: Contender; proxy: Running; rounds: Load[] }[] = []
  try {
    for (const contender of contenders.filter(({ absent }) => !absent)) {
      running.push({ contender, proxy: await contender.start(upstream.port, 0), rounds: [] })
    }
    for (let round = 0; round <= rounds; round++) {
      for (const { contender, proxy, rounds: kept } of running) {
        const url = `http://127.0.0.1:${proxy.port}/prompt`
        const length = round === 0 ? WARM_UP_SECONDS : seconds
        const measured = await load({ url, headers: contender.headers, connections: 64, seconds: length, core: 1 })
        if (round > 0) kept.push(measured)
      }
    }
  } finally {
    await Promise.all([upstream, ...running.map(({ proxy }) => proxy)].map((process) => process.stop()))
  }
  return running.map(({ contender, rounds: kept }) => ({ name: contender.name, rounds: kept }))
}
