/** Counts the replies on a connection: enough of HTTP/1.1 to know when a well-formed exchange has ended. */
export interface Replies {
  take(chunk: Buffer): void
  /** As many as were asked for have come whole, or one that ends with the connection. */
  readonly done: boolean
  readonly reusable: boolean
  /** Their status codes, so far. */
  readonly statuses: readonly number[]
}

/** `methods`: of the requests sent, in order. Empty: never done. */
export function createReplies(methods: readonly string[]): Replies {
  let text = ''
  let open = true
  const statuses: number[] = []

  /** The end of the body that begins at `start`, or undefined where it is not here yet. */
  function endOf(head: string, start: number, method: string, status: number): number | undefined {
    if (method === 'HEAD' || status === 204 || status === 304) return start
    if (/^transfer-encoding:.*chunked/im.test(head)) {
      const end = text.indexOf('0\r\n\r\n', start)
      return end === -1 ? undefined : end + 5
    }
    const end = start + Number(/^content-length: *(\d+)/im.exec(head)?.[1] ?? 0)
    return end <= text.length ? end : undefined
  }

  return {
    take(chunk) {
      text += chunk.toString('latin1')
      while (statuses.length < methods.length) {
        const blank = text.indexOf('\r\n\r\n')
        if (blank === -1) return
        const head = text.slice(0, blank)
        const status = Number(head.slice(9, 12))
        if (status >= 100 && status < 200 && status !== 101) {
          text = text.slice(blank + 4)
          continue
        }
        const end = endOf(head, blank + 4, methods[statuses.length]!, status)
        if (end === undefined) return
        text = text.slice(end)
        statuses.push(status)
        if (status === 101 || /^connection: *close/im.test(head)) {
          open = false
          return
        }
      }
    },
    get done() {
      return methods.length > 0 && (statuses.length === methods.length || !open)
    },
    get reusable() {
      return open && text === ''
    },
    statuses,
  }
}
