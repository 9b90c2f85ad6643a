import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'

/** One request that reached the upstream, and the socket to misbehave on. */
export interface Asked {
  readonly method: string
  readonly target: string
  readonly head: string
  readonly socket: Socket
  /** As much of its body as came with its head. */
  readonly body: string
  /** The value of a query parameter of the target. */
  query(name: string): string
}

export interface Upstream {
  readonly port: number
  readonly url: string
  readonly asked: readonly Asked[]
  /** What answers from now on. */
  answer: (asked: Asked) => void
  /** Sockets open now. */
  readonly open: ReadonlySet<Socket>
  /** Resolves once none is open. */
  quiet(): Promise<void>
  /** Ends its side of every connection, those that wait in a pool too. */
  letGo(): Promise<void>
  /** Ends all connections, and takes no more until `start`. */
  stop(): Promise<void>
  start(): Promise<void>
  close(): Promise<void>
}

/** Whole and well-made: its body is the request's own marker. */
export function answerWell({ socket, query }: Asked): void {
  const body = `good ${query('marker')}`
  socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`)
}

/** Reads heads, and says nothing by itself. */
export async function misbehaving(): Promise<Upstream> {
  const open = new Set<Socket>()
  const asked: Asked[] = []
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    open.add(socket)
    socket.on('error', () => {}).on('close', () => open.delete(socket))
    // What a client sent before it closed has been read by then.
    socket.on('end', () => socket.end())
    let text = ''
    /** Bytes of a body that are still to come. */
    let left = 0
    socket.on('data', (chunk) => {
      const taken = Math.min(left, chunk.length)
      left -= taken
      text += chunk.subarray(taken).toString('latin1')
      const end = text.indexOf('\r\n\r\n')
      const first = /^([A-Z]+) (\S+) HTTP\/1\.1\r\n/.exec(text)
      if (end === -1 || !first) return
      const head = text.slice(0, end + 4)
      text = text.slice(end + 4)
      const length = Number(/\r\ncontent-length: (\d+)\r\n/i.exec(head)?.[1] ?? 0)
      left = Math.max(0, length - text.length)
      const body = text.slice(0, length)
      text = text.slice(length)
      const [, method, target] = first as unknown as [string, string, string]
      const query = (name: string) => new URL(target, 'http://x').searchParams.get(name) ?? ''
      const one: Asked = { method, target, head, socket, body, query }
      asked.push(one)
      upstream.answer(one)
    })
  })
  const listen = async (port: number) => {
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
    return (server.address() as AddressInfo).port
  }
  const port = await listen(0)
  const stop = async () => {
    const closed = once(server, 'close')
    server.close()
    for (const socket of open) socket.destroy()
    await closed
  }
  const upstream: Upstream = {
    port,
    url: `http://127.0.0.1:${port}`,
    asked,
    answer: answerWell,
    open,
    async quiet() {
      while (open.size > 0) await new Promise((resolve) => setTimeout(resolve, 5))
    },
    async letGo() {
      for (const socket of open) socket.destroy()
      await upstream.quiet()
    },
    stop,
    async start() {
      await listen(port)
    },
    async close() {
      if (server.listening) await stop()
    },
  }
  return upstream
}
