import { expect } from 'vitest'
import { ask1, ask2, open2, type Question, type Seen } from './client.ts'
import { type Served, serve } from './process.ts'
import { misbehaving, type Upstream } from './upstream.ts'

/** An upstream and two processes before it: one of HTTP/1.1, one of HTTP/2 over TLS. */
export interface Pair {
  readonly upstream: Upstream
  readonly served: readonly [Served, Served]
  /** The first good request, before any fault. */
  begin(): Promise<void>
  both(question: Question): Promise<readonly [Seen, Seen]>
  /** The next good request: on either protocol it gets its own answer. */
  good(): Promise<void>
  /** Nothing more is open in either process than before the first fault. */
  nothingLeft(): Promise<void>
  close(): Promise<void>
}

export async function openPair(): Promise<Pair> {
  const upstream = await misbehaving()
  const served = await Promise.all([
    serve(upstream.url, ['--idle-timeout', '1s']),
    serve(upstream.url, ['--idle-timeout', '1s', '--tls-self-signed']),
  ])
  async function both(question: Question): Promise<readonly [Seen, Seen]> {
    const session = await open2(served[1].port)
    const seen = await Promise.all([ask1(served[0].port, question), ask2(session, question)])
    session.destroy()
    return seen
  }
  let marker = 0
  async function good(): Promise<void> {
    const path = `/queue?marker=${++marker}`
    for (const seen of await both({ path })) expect(seen).toMatchObject({ outcome: '200', body: `good ${marker}` })
  }
  let descriptors: readonly number[]
  return {
    upstream,
    served,
    async begin() {
      await good()
      await upstream.letGo()
      descriptors = served.map((one) => one.fds())
    },
    both,
    good,
    async nothingLeft() {
      await upstream.letGo()
      await Promise.all(served.map((one, i) => one.fdsWithin(descriptors[i]!)))
    },
    async close() {
      await Promise.all(served.map((one) => one.close()))
      await upstream.close()
    },
  }
}
