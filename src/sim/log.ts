/** One request that reached the simulator, as it arrived; also those that it refused. */
export interface SimRequest {
  readonly method: string
  /** The request-target, byte for byte. */
  readonly target: string
  /** Name, value, name, value: case, order and duplicates as sent. */
  readonly headers: readonly string[]
  readonly httpVersion: string
  /** An Upgrade that became a WebSocket. */
  readonly upgrade: boolean
  readonly body: { bytes: number; sha256: string; text?: string }
  /** What was answered; 0 while no answer is out, and where none came. */
  status: number
  /** The bytes where they were no HTTP: method and target are then empty. */
  readonly raw?: string
}

/** The SHA-256 of nothing. */
export const EMPTY_SHA = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'
const TEXT_LIMIT = 65_536

/** Remembers the last requests. */
export interface RequestLog {
  readonly entries: SimRequest[]
  readonly keeps: boolean
  add(entry: SimRequest): void
  clear(): void
}

/** `limit` 0 keeps nothing. */
export function createLog(limit: number): RequestLog {
  const entries: SimRequest[] = []
  return {
    entries,
    keeps: limit > 0,
    add(entry) {
      if (limit === 0) return
      entries.push(entry)
      // Dropped in one go, so that a full log costs nothing a request.
      if (entries.length > limit * 1.25) entries.splice(0, entries.length - limit)
    },
    clear() {
      entries.length = 0
    },
  }
}

/** Notes a body in its entry once it is known. */
export function noteBody(entry: SimRequest, bytes: number, sha256: string, content: Buffer | undefined): void {
  entry.body.bytes = bytes
  entry.body.sha256 = sha256
  if (content && content.length <= TEXT_LIMIT) entry.body.text = content.toString('utf8')
}
