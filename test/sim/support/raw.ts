import { connect } from 'node:net'

/** One request as the recordings have it. */
export interface RecordedRequest {
  readonly method: string
  readonly path: string
  readonly headers?: Readonly<Record<string, string | null>>
  readonly json?: unknown
  readonly text?: string
  readonly body_base64?: string
  readonly bytes?: number
  readonly multipart?: readonly {
    readonly name: string
    readonly filename?: string
    readonly type?: string
    readonly text?: string
    readonly base64?: string
  }[]
}

export interface RawResponse {
  readonly status: number
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer
}

const PLACEHOLDER = /<(\d+)(?: x)? (.)>/g

/** `<8200 x a>` and `<8200 a>` stand for that many letters. */
function unfold(text: string): string {
  return text.replace(PLACEHOLDER, (_, count: string, letter: string) => letter.repeat(Number(count)))
}

function bodyOf(request: RecordedRequest): { body: Buffer | undefined; type?: string } {
  if (request.json !== undefined) return { body: Buffer.from(JSON.stringify(request.json)), type: 'application/json' }
  if (request.text !== undefined) return { body: Buffer.from(request.text) }
  if (request.body_base64 !== undefined) return { body: Buffer.from(request.body_base64, 'base64') }
  if (request.bytes !== undefined) return { body: Buffer.alloc(request.bytes) }
  if (request.multipart === undefined)
    return { body: request.method === 'GET' || request.method === 'HEAD' ? undefined : Buffer.alloc(0) }
  const parts = request.multipart.map(({ name, filename, type, text, base64 }) => {
    const head = `--simboundary\r\nContent-Disposition: form-data; name="${name}"${filename === undefined ? '' : `; filename="${filename}"`}\r\n${type === undefined ? '' : `Content-Type: ${type}\r\n`}\r\n`
    const content = base64 === undefined ? Buffer.from(unfold(text ?? '')) : Buffer.from(base64, 'base64')
    return Buffer.concat([Buffer.from(head), content, Buffer.from('\r\n')])
  })
  return {
    body: Buffer.concat([...parts, Buffer.from('--simboundary--\r\n')]),
    type: 'multipart/form-data; boundary=simboundary',
  }
}

/** The bytes of a request, spelled exactly as recorded. */
function headOf(request: RecordedRequest, type: string | undefined, length: number | undefined): string {
  const headers = new Map<string, string>([['Host', '127.0.0.1:8188']])
  if (type !== undefined) headers.set('Content-Type', type)
  if (length !== undefined && length > 0) headers.set('Content-Length', String(length))
  for (const [name, value] of Object.entries(request.headers ?? {})) {
    for (const known of [...headers.keys()]) if (known.toLowerCase() === name.toLowerCase()) headers.delete(known)
    if (value !== null) headers.set(name, unfold(value))
  }
  const lines = [...headers].map(([name, value]) => `${name}: ${value}\r\n`)
  return `${request.method} ${unfold(request.path)} HTTP/1.1\r\n${lines.join('')}\r\n`
}

function parse(bytes: Buffer, ended: boolean, headOnly: boolean): RawResponse | undefined {
  const split = bytes.indexOf('\r\n\r\n')
  if (split < 0) return undefined
  const [line = '', ...fields] = bytes.toString('latin1', 0, split).split('\r\n')
  const headers: Record<string, string> = {}
  for (const field of fields)
    headers[field.slice(0, field.indexOf(':')).toLowerCase()] = field.slice(field.indexOf(':') + 1).trim()
  const status = Number(line.split(' ')[1])
  const rest = bytes.subarray(split + 4)
  const none = headOnly || status === 101 || status === 204 || status === 304
  if (none) return { status, headers, body: Buffer.alloc(0) }
  if (headers['transfer-encoding'] === 'chunked')
    return rest.includes('0\r\n\r\n') ? { status, headers, body: Buffer.alloc(0) } : undefined
  const length = headers['content-length'] === undefined ? undefined : Number(headers['content-length'])
  if (length !== undefined ? rest.length >= length : ended)
    return { status, headers, body: length === undefined ? rest : rest.subarray(0, length) }
  return undefined
}

/** Sends a request over a socket of its own and reads the answer; a body goes up until the answer comes. */
export function send(port: number, request: RecordedRequest): Promise<RawResponse> {
  const { body, type } = bodyOf(request)
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1')
    const chunks: Buffer[] = []
    let answered = false
    const look = (ended: boolean) => {
      const response = parse(Buffer.concat(chunks), ended, request.method === 'HEAD')
      if (response && !answered) {
        answered = true
        socket.destroy()
        resolve(response)
      } else if (ended && !answered) reject(new Error('no answer'))
    }
    socket.on('data', (chunk) => {
      chunks.push(chunk)
      look(false)
    })
    socket.on('end', () => look(true))
    socket.on('error', (error) => (answered ? undefined : reject(error)))
    socket.write(headOf(request, type, body?.length), 'latin1')
    const step = 1_048_576
    const push = (from: number) => {
      if (!body || from >= body.length || answered || socket.destroyed) return
      socket.write(body.subarray(from, from + step), () => push(from + step))
    }
    push(0)
  })
}
