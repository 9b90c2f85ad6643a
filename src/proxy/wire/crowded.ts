import type { Answer } from '../pages/answer.ts'
import { protocolAnswer } from './respond.ts'

/** No turn will come soon: turns.ts. */
export const CROWDED = comeAgain('Too many requests of this key or address wait for ComfyUI already.', 1)

/** The register of sockets (state/sockets.ts) takes no more of this party. */
export const NO_SOCKET_LEFT = comeAgain('Too many WebSockets of this key or address are open already.', 5)

function comeAgain(message: string, seconds: number): Answer {
  const answer = protocolAnswer(503, message)
  return { ...answer, headers: [...answer.headers, 'Retry-After', String(seconds)] }
}
