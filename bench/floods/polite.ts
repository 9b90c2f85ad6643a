// A client that behaves: node polite.ts PORT KEY TLS. For each message `seconds` it sends back what it measured.
import { Agent as HttpAgent, request as httpRequest } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { SMALL_BODY } from '../upstream.ts'

export interface Measured {
  /** From when each request was due, so that a late start counts too. */
  readonly ms: readonly number[]
  /** Answered with anything but what the upstream says. */
  readonly wrong: number
  /** Not answered within 5 s, or cut. */
  readonly missing: number
}

/** A browser with a page open and a script or two: so much that a percentile is known within seconds, too little to be a load. */
const PER_SECOND = 100
/** So many of them go over a new connection, for a flood of connections must not shut the door. */
const FRESH_EVERY = 10
const TIMEOUT_MS = 5_000

const [port, key, tls] = process.argv.slice(2)
const secure = tls === 'true'
const agent = secure ? new HttpsAgent({ keepAlive: true }) : new HttpAgent({ keepAlive: true })
const request = secure ? httpsRequest : httpRequest

function ask(fresh: boolean): Promise<'right' | 'wrong' | 'missing'> {
  return new Promise((resolve) => {
    const headers = { Authorization: `Bearer ${key}`, ...(fresh && { Connection: 'close' }) }
    const to = { host: '127.0.0.1', port, path: '/prompt', rejectUnauthorized: false, timeout: TIMEOUT_MS }
    const asked = request({ ...to, headers, agent: fresh ? false : agent }, (answer) => {
      let body = ''
      answer.setEncoding('utf8').on('data', (text: string) => {
        body += text
      })
      answer.on('end', () => resolve(answer.statusCode === 200 && body === SMALL_BODY ? 'right' : 'wrong'))
      answer.on('error', () => resolve('missing'))
    })
    asked.on('timeout', () => asked.destroy())
    asked.on('error', () => resolve('missing'))
    asked.end()
  })
}

async function measure(seconds: number): Promise<Measured> {
  const ms: number[] = []
  const counts = { right: 0, wrong: 0, missing: 0 }
  const startMs = performance.now()
  const asked: Promise<void>[] = []
  for (let i = 0; i < seconds * PER_SECOND; i++) {
    const dueMs = startMs + (i * 1_000) / PER_SECOND
    const early = dueMs - performance.now()
    if (early > 0) await new Promise((resolve) => setTimeout(resolve, early))
    asked.push(
      ask(i % FRESH_EVERY === 0).then((outcome) => {
        counts[outcome]++
        ms.push(performance.now() - dueMs)
      }),
    )
  }
  await Promise.all(asked)
  return { ms, wrong: counts.wrong, missing: counts.missing }
}

process.on('message', (seconds: number) => {
  void measure(seconds).then((measured) => process.send!(measured))
})
process.once('disconnect', () => process.exit(0))
process.send!(true)
