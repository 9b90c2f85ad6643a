import { type Summary, summarise, UNAVAILABLE } from '../../health/summary.ts'
import { type Answer, jsonAnswer } from './answer.ts'

/** Parsed bodies of the upstream's GET /system_stats and GET /prompt; rejects where it does not answer. */
export type ReadUpstream = (signal: AbortSignal) => Promise<{ readonly systemStats: unknown; readonly prompt: unknown }>

const FRESH_MS = 1_000
const DEADLINE_MS = 5_000

/**
 * `/health`, open to everyone: so the upstream is asked once a second at most, by one request in flight,
 * however many ask here. 503 and `"status":"unavailable"` where it does not answer in 5 s.
 */
export function createHealth(read: ReadUpstream, nowMs: () => number): () => Promise<Answer> {
  let kept: { answer: Answer; atMs: number } | undefined
  let inFlight: Promise<Answer> | undefined

  async function ask(): Promise<Answer> {
    const summary = await readSummary(read)
    const answer = jsonAnswer(summary.status === 'ok' ? 200 : 503, summary)
    kept = { answer, atMs: nowMs() }
    return answer
  }

  return () => {
    if (kept !== undefined && Math.abs(nowMs() - kept.atMs) < FRESH_MS) return Promise.resolve(kept.answer)
    inFlight ??= ask().finally(() => {
      inFlight = undefined
    })
    return inFlight
  }
}

async function readSummary(read: ReadUpstream): Promise<Summary> {
  const deadline = AbortSignal.timeout(DEADLINE_MS)
  const late = new Promise<never>((_, reject) => {
    deadline.addEventListener('abort', () => reject(deadline.reason), { once: true })
  })
  try {
    const { systemStats, prompt } = await Promise.race([read(deadline), late])
    return summarise(systemStats, prompt)
  } catch {
    return UNAVAILABLE
  }
}
