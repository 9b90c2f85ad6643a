/** RFC 6455 opcodes that this room makes or looks for. */
const CLOSE = 0x8
const PING = 0x9
const PONG = 0xa

/** The longest control frame: two bytes of head, four of mask, 125 of payload. */
const LONGEST_CONTROL = 131

/**
 * Follows frame boundaries through one direction of a WebSocket, without copying a byte and without a size limit: payloads
 * are hopped over. Judges nothing (masks, reserved bits, fragments): that is the two ends' business.
 */
export class FrameTracker {
  /** Bytes of the frame's head seen so far; 0 at a boundary. */
  #seen = 0
  /** How many the head has: 2 until the second byte is known. */
  #headLength = 2
  #payload = 0
  #extended = 0
  #opcode = 0

  /** Nothing of a next frame has been seen yet: a frame of ours may stand here. */
  get atBoundary(): boolean {
    return this.#seen === 0
  }

  /** Of the frame under way. */
  get opcode(): number {
    return this.#opcode
  }

  /** Walks from `from` to the end of the frame under way, or of `chunk`; gives the offset reached. */
  step(chunk: Uint8Array, from: number): number {
    let at = from
    while (at < chunk.length && this.#seen < this.#headLength) this.#head(chunk[at++]!)
    if (this.#seen < this.#headLength) return at
    const taken = Math.min(this.#payload, chunk.length - at)
    this.#payload -= taken
    if (this.#payload === 0) this.#reset()
    return at + taken
  }

  /** Walks over the whole of `chunk`. */
  skip(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length; ) at = this.step(chunk, at)
  }

  #head(byte: number): void {
    const index = this.#seen++
    if (index === 0) {
      this.#opcode = byte & 0x0f
    } else if (index === 1) {
      const length = byte & 0x7f
      this.#extended = length === 127 ? 8 : length === 126 ? 2 : 0
      this.#payload = this.#extended === 0 ? length : 0
      this.#headLength = 2 + this.#extended + (byte & 0x80 ? 4 : 0)
    } else if (index < 2 + this.#extended) {
      this.#payload = this.#payload * 256 + byte
    }
  }

  #reset(): void {
    this.#seen = 0
    this.#headLength = 2
  }
}

/** Takes out of a client's stream the pongs that answer pings of ours: the upstream never asked for them (rule 11). */
export class PongFilter {
  readonly #tracker = new FrameTracker()
  readonly #payload: Uint8Array
  #expected = 0
  /** A pong that is not whole yet. */
  #held: Buffer[] = []

  constructor(payload: Uint8Array) {
    this.#payload = payload
  }

  /** A ping with our payload went to the client. */
  expectPong(): void {
    this.#expected++
  }

  /** What of `chunk` goes on to the upstream, in order. */
  pass(chunk: Buffer): readonly Buffer[] {
    if (this.#expected === 0 && this.#held.length === 0) {
      this.#tracker.skip(chunk)
      return [chunk]
    }
    const passed: Buffer[] = []
    for (let at = 0, start = 0; at < chunk.length; start = at) {
      const opens = this.#tracker.atBoundary
      const holds = this.#held.length > 0 || (opens && (chunk[at]! & 0x0f) === PONG)
      at = this.#tracker.step(chunk, at)
      const piece = chunk.subarray(start, at)
      if (!holds) passed.push(piece)
      else this.#hold(piece, passed)
    }
    return passed
  }

  #hold(piece: Buffer, passed: Buffer[]): void {
    this.#held.push(piece)
    const frame = Buffer.concat(this.#held)
    if (!this.#tracker.atBoundary && frame.length < LONGEST_CONTROL) return
    this.#held = []
    if (this.#expected > 0 && this.#tracker.atBoundary && this.#isOurs(frame)) this.#expected--
    else passed.push(frame) // too long for a pong is somebody's mistake, and goes on as it came
  }

  #isOurs(frame: Buffer): boolean {
    const masked = (frame[1]! & 0x80) !== 0
    const start = masked ? 6 : 2
    if ((frame[1]! & 0x7f) !== this.#payload.length || frame.length !== start + this.#payload.length) return false
    return this.#payload.every((byte, i) => (frame[start + i]! ^ (masked ? frame[2 + (i & 3)]! : 0)) === byte)
  }
}

/** A server's control frame: unmasked; `payload` at most 125 bytes. */
function control(opcode: number, payload: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([0x80 | opcode, payload.length]), payload])
}

export function pingFrame(payload: Uint8Array): Buffer {
  return control(PING, payload)
}

export function closeFrame(code: number, reason: string): Buffer {
  const text = Buffer.from(reason).subarray(0, 123)
  return control(CLOSE, Buffer.concat([Buffer.from([code >> 8, code & 0xff]), text]))
}
