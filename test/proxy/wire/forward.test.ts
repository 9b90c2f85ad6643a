import { once } from 'node:events'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { createSim } from '../../../src/sim/sim.ts'
import { temporaryFolder } from '../../support/cli.ts'
import { closing } from '../../support/closers.ts'
import { ADMIN, exchange, get, proxied, rawClient, rawUpstream, startProxy, VIEWER } from './support.ts'

async function beforeSim() {
  const sim = closing(await createSim())
  const proxy = closing(await startProxy(sim.url))
  return { sim, proxy }
}

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
const CLOSE = 'Connection: close\r\n'

describe('what goes up', () => {
  test('target byte for byte, Host as a number, and neither the key nor hop-by-hop headers', async () => {
    const { upstream, proxy } = await proxied(({ socket }) => socket.write(OK))
    const target = `/userdata/workflows%2Fa%20b.json?x=%41&api_key=${ADMIN}&y=%zz`
    await exchange(
      proxy.port,
      `GET ${target} HTTP/1.1\r\nHost: localhost:1\r\nX-One: a\r\nx-one: b\r\nConnection: close, X-Secret\r\nX-Secret: s\r\nTE: trailers\r\nX-API-Key: ${ADMIN}\r\nCookie: other=1\r\n\r\n`,
    )
    const { head } = await upstream.request(0)
    expect(head.split('\r\n')[0]).toBe('GET /userdata/workflows%2Fa%20b.json?x=%41&y=%zz HTTP/1.1')
    expect(head).toMatch(new RegExp(`\r\nhost: 127.0.0.1:${upstream.port}\r\n`, 'i'))
    expect(head).toContain('\r\nX-One: a\r\nx-one: b\r\n')
    expect(head).toContain('\r\nCookie: other=1\r\n')
    expect(head).not.toMatch(/x-secret|trailers|api-key|admin-key/i)
  })

  test('header values keep their bytes, both ways', async () => {
    const bytes = 'r\xe9sum\xc3\xa9'
    const { upstream, proxy } = await proxied(({ socket }) =>
      socket.write(Buffer.from(`HTTP/1.1 200 OK\r\nX-Name: ${bytes}\r\nContent-Length: 0\r\n\r\n`, 'latin1')),
    )
    const text = await exchange(proxy.port, get('/queue', `X-Sent: ${bytes}\r\n${CLOSE}`))
    expect((await upstream.request(0)).head).toContain(`X-Sent: ${bytes}\r\n`)
    expect(text).toContain(`X-Name: ${bytes}\r\n`)
  })

  test('a chunked body goes up chunked, its trailers dropped', async () => {
    const { upstream, proxy } = await proxied((request) => {
      const wait = () => (/\r\n0\r\n/.test(request.body()) ? request.socket.write(OK) : setImmediate(wait))
      wait()
    })
    await exchange(
      proxy.port,
      `POST /upload/image HTTP/1.1\r\nHost: localhost\r\nX-API-Key: ${ADMIN}\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n${CLOSE}\r\n3\r\nxyz\r\n2\r\nuv\r\n0\r\nX-T: secret\r\n\r\n`,
    )
    const { head, body } = await upstream.request(0)
    expect(head).toMatch(/\r\ntransfer-encoding: chunked\r\n/i)
    expect(head).not.toMatch(/content-length|trailer/i)
    expect(body().replaceAll(/[0-9a-f]+\r\n|\r\n/g, '')).toBe('xyzuv')
    expect(body()).not.toContain('secret')
  })

  test('a body with a length goes up with that length', async () => {
    const { upstream, proxy } = await proxied((request) => {
      const wait = () => (request.body().endsWith('world') ? request.socket.write(OK) : setImmediate(wait))
      wait()
    })
    const client = await rawClient(
      proxy.port,
      `POST /upload/image HTTP/1.1\r\nHost: localhost\r\nX-API-Key: ${ADMIN}\r\nContent-Length: 10\r\n${CLOSE}\r\nhello`,
    )
    await upstream.request(0) // the first half is enough for the head to go up
    client.socket.write('world')
    expect(await client.ended()).toMatch(/ok$/)
    expect(upstream.requests[0]!.head).toMatch(/\r\ncontent-length: 10\r\n/i)
    expect(upstream.requests[0]!.body()).toBe('helloworld')
  })

  test('Upgrade: h2c, and an Upgrade on a POST, are ordinary requests without the header', async () => {
    const { upstream, proxy } = await proxied(({ socket }) => socket.write(OK))
    await exchange(proxy.port, get('/queue', 'Upgrade: h2c\r\nConnection: Upgrade, close\r\nHTTP2-Settings: AAA\r\n'))
    await exchange(
      proxy.port,
      `POST /upload/image HTTP/1.1\r\nHost: localhost\r\nX-API-Key: ${ADMIN}\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\nContent-Length: 2\r\n\r\nhi`,
    )
    expect(upstream.requests).toHaveLength(2)
    for (const { head } of upstream.requests) expect(head).not.toMatch(/upgrade|http2/i)
    expect(upstream.requests[1]!.body()).toBe('hi')
  })

  test('connections to the upstream are used again', async () => {
    const { upstream, proxy } = await proxied(({ socket }) => socket.write(OK))
    for (let i = 0; i < 5; i++) await exchange(proxy.port, get('/queue', CLOSE))
    expect(upstream.requests).toHaveLength(5)
    expect(upstream.connections()).toBe(1)
  })
})

describe('Expect: 100-continue', () => {
  const head = (key: string) =>
    `POST /prompt HTTP/1.1\r\nHost: localhost\r\nX-API-Key: ${key}\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n`

  test('is answered by us after the decision and never goes up', async () => {
    const { upstream, proxy } = await proxied(({ socket }) => socket.write(OK))
    const client = await rawClient(proxy.port, head(ADMIN))
    await client.until(/^HTTP\/1.1 100 Continue\r\n\r\n/)
    client.socket.write('{}')
    await client.until(/HTTP\/1.1 200 OK[\s\S]*ok$/)
    expect(upstream.requests[0]!.head).not.toMatch(/expect/i)
    client.socket.destroy()
  })

  test('a refusal comes in place of it, and the connection closes', async () => {
    const { upstream, proxy } = await proxied(() => {})
    const text = await exchange(proxy.port, head(VIEWER))
    expect(text).toMatch(/^HTTP\/1.1 403 /)
    expect(upstream.requests).toHaveLength(0)
  })
})

describe('what comes back', () => {
  test('a known length stays, an unknown one is chunked; neither framing nor hop-by-hop headers are copied', async () => {
    const { proxy } = await proxied(({ head, socket }) =>
      socket.write(
        head.startsWith('GET /queue')
          ? 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nKeep-Alive: timeout=1\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n\r\n2\r\nhi\r\n0\r\nX-Trailer: t\r\n\r\n'
          : OK,
      ),
    )
    expect(await exchange(proxy.port, get('/prompt', CLOSE))).toMatch(/\r\nContent-Length: 2\r\n[\s\S]*\r\n\r\nok$/)
    const chunked = await exchange(proxy.port, get('/queue', CLOSE))
    expect(chunked).toMatch(/\r\n\r\n2\r\nhi\r\n0\r\n\r\n$/)
    expect(chunked).not.toMatch(/x-hop|timeout=1|x-trailer/i)
  })

  test('HEAD, 204 and 304 have no body, whatever the upstream says of it', async () => {
    const { proxy } = await proxied(({ head, socket }) => {
      if (head.startsWith('HEAD')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n')
      else if (head.startsWith('GET /queue')) socket.write('HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nevil')
      else socket.write('HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n')
    })
    const head = await exchange(proxy.port, get('/view?filename=a.png', CLOSE).replace('GET', 'HEAD'))
    expect(head).toMatch(/\r\nContent-Length: 1234\r\n/)
    expect(head).toMatch(/\r\n\r\n$/)
    expect(await exchange(proxy.port, get('/queue', CLOSE))).toMatch(/^HTTP\/1.1 204 [\s\S]*\r\n\r\n$/)
    expect(await exchange(proxy.port, get('/view?filename=b.png', CLOSE))).toMatch(
      /^HTTP\/1.1 304 [\s\S]*"a"[\s\S]*\r\n\r\n$/,
    )
  })

  test('1xx heads are not passed on as the answer', async () => {
    const { proxy } = await proxied(({ socket }) =>
      socket.write(`HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n${OK}`),
    )
    expect(await exchange(proxy.port, get('/queue', CLOSE))).toMatch(/^HTTP\/1.1 200 OK\r\n[\s\S]*ok$/)
  })

  test('a head goes out before its body is there', async () => {
    const { upstream, proxy } = await proxied(({ socket }) =>
      socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'),
    )
    const client = await rawClient(proxy.port, get('/queue'))
    await client.until(/^HTTP\/1.1 200 OK\r\n[\s\S]*\r\n\r\n$/)
    upstream.requests[0]!.socket.write('1\r\nx\r\n')
    await client.until(/x\r\n$/)
    client.socket.destroy()
  })

  test("a client that leaves ends the upstream's request too", async () => {
    const { upstream, proxy } = await proxied(() => {})
    const client = await rawClient(proxy.port, get('/queue'))
    const { socket } = await upstream.request(0)
    const gone = new Promise((resolve) => socket.once('close', resolve).once('end', resolve))
    client.socket.destroy()
    await gone
  })

  test('of several pipelined ones too: none is worked on for nobody', async () => {
    const { upstream, proxy } = await proxied(({ head, socket }) => {
      if (head.startsWith('GET /prompt')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
    })
    const client = await rawClient(proxy.port, get('/queue').repeat(4))
    const { socket } = await upstream.request(0)
    const gone = new Promise((resolve) => socket.once('close', resolve))
    client.socket.destroy()
    await gone
    expect(await exchange(proxy.port, get('/prompt', CLOSE))).toMatch(/^HTTP\/1\.1 200 /)
    expect(upstream.requests.map(({ head }) => head.split(' ')[1])).toEqual(['/queue', '/prompt'])
  })
})

describe('an upstream that fails', () => {
  test('is not there: 503 with Retry-After for programs, a page for browsers', async () => {
    const upstream = await rawUpstream()
    await upstream.close()
    const proxy = closing(await startProxy(upstream.url))
    const json = await exchange(proxy.port, get('/queue', CLOSE))
    expect(json).toMatch(/^HTTP\/1.1 503 [\s\S]*\r\nRetry-After: \d+\r\n[\s\S]*"Service Unavailable"/)
    const page = await exchange(
      proxy.port,
      get('/', `Accept: text/html\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\n${CLOSE}`),
    )
    expect(page).toMatch(/^HTTP\/1.1 503 [\s\S]*\r\nContent-Type: text\/html/)
    expect((await fetch(`${proxy.url}/health`)).status).toBe(503)
    expect(proxy.lines.some((line) => line.includes('does not answer (ECONNREFUSED)'))).toBe(true)
  })

  const BROKEN: Readonly<Record<string, string>> = {
    'closes without a word': '',
    'cuts its head': 'HTTP/1.1 200 OK\r\nContent-Le',
    'speaks no HTTP': 'SSH-2.0-OpenSSH_9.6\r\n',
    'says two lengths': 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!',
    'says a length and chunked': 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'switches protocols unasked': 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n',
    'continues unasked': 'HTTP/1.1 100 Continue\r\n\r\n',
    'sends a head of 100 KiB': `HTTP/1.1 200 OK\r\nX: ${'a'.repeat(100_000)}\r\n\r\n`,
  }
  for (const [name, bytes] of Object.entries(BROKEN)) {
    test(`${name}: 502, and the next request works`, async () => {
      let bad = true
      const { proxy } = await proxied(({ socket }) => {
        if (bad) socket.end(bytes)
        else socket.write(OK)
        bad = false
      })
      const text = await exchange(proxy.port, get('/queue') + get('/queue', CLOSE))
      expect(text.match(/HTTP\/1\.1 \d{3}/g)).toEqual(['HTTP/1.1 502', 'HTTP/1.1 200'])
      expect(text).toContain('"Bad Gateway"')
    })
  }

  test('is silent: 504 after the idle time', async () => {
    const { proxy } = await proxied(() => {}, { idleMs: 500 })
    expect(await exchange(proxy.port, get('/queue', CLOSE))).toMatch(/^HTTP\/1.1 504 /)
  })

  const CUT: Readonly<Record<string, string>> = {
    'short of its length': 'HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nhalf',
    'in a chunk': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhalf',
    'between chunks': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n',
  }
  for (const [name, bytes] of Object.entries(CUT)) {
    test(`breaks off ${name}: the client can tell, and its connection is cut`, async () => {
      const { proxy } = await proxied(({ socket }) => socket.end(bytes))
      const text = await exchange(proxy.port, get('/queue'))
      expect(text).toMatch(/^HTTP\/1.1 200 [\s\S]*half/)
      expect(text).not.toMatch(/\r\n0\r\n\r\n$/)
      await expect(fetch(`${proxy.url}/queue?api_key=${ADMIN}`).then((response) => response.text())).rejects.toThrow()
    })
  }

  test('sends more than its length: what is too much reaches nobody', async () => {
    let first = true
    const { proxy } = await proxied(({ socket }) => {
      socket.write(
        first
          ? 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nX-Evil: 1\r\nContent-Length: 4\r\n\r\nevil'
          : OK,
      )
      first = false
    })
    const text = await exchange(proxy.port, get('/queue') + get('/queue', CLOSE))
    expect(text).not.toMatch(/evil/i)
    expect(text.match(/HTTP\/1\.1 200/g)).toHaveLength(2)
  })

  test('a request that changes something is never sent twice', async () => {
    const { upstream, proxy } = await proxied(({ socket }) => socket.destroy())
    const post = `POST /prompt HTTP/1.1\r\nHost: localhost\r\nX-API-Key: ${ADMIN}\r\nContent-Length: 2\r\n${CLOSE}\r\n{}`
    expect(await exchange(proxy.port, post)).toMatch(/^HTTP\/1.1 502 /)
    expect(upstream.requests).toHaveLength(1)
  })

  test('comes back: the first request after that is answered', async () => {
    const upstream = await rawUpstream(({ socket }) => socket.write(OK))
    const proxy = closing(await startProxy(upstream.url))
    expect(await exchange(proxy.port, get('/queue', CLOSE))).toMatch(/^HTTP\/1.1 200 /)
    await upstream.close()
    expect(await exchange(proxy.port, get('/queue', CLOSE))).toMatch(/^HTTP\/1.1 50[23] /)
    closing(await createSim({ port: upstream.port }))
    expect(await exchange(proxy.port, get('/queue', CLOSE))).toMatch(/^HTTP\/1.1 200 /)
  })
})

test('an upstream on a unix socket is served, sockets too', async () => {
  const path = join(temporaryFolder(), 'comfyui.sock')
  const heads: string[] = []
  const server = createServer((socket) => {
    socket
      .on('error', () => {})
      .on('data', (chunk) => {
        heads.push(chunk.toString('latin1'))
        socket.write(OK)
      })
  }).listen(path)
  await once(server, 'listening')
  const proxy = await startProxy(`unix:${path}`)
  expect(await exchange(proxy.port, get('/queue', CLOSE))).toMatch(/ok$/)
  const upgrade =
    'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n'
  expect(await exchange(proxy.port, get('/ws?clientId=a', upgrade))).toMatch(/^HTTP\/1.1 200 [\s\S]*ok$/)
  for (const head of heads) expect(head).toMatch(/\r\nhost: 127.0.0.1\r\n/i)
  expect(heads).toHaveLength(2)
  await proxy.close()
  server.close()
})

test('names of files in UTF-8 come through a real exchange with the simulated ComfyUI', async () => {
  const { sim, proxy } = await beforeSim()
  const form = new FormData()
  form.append('image', new Blob([Buffer.alloc(3_000_000, 1)]), 'Bär.png')
  const headers = { authorization: `Bearer ${ADMIN}` }
  const uploaded = await fetch(`${proxy.url}/upload/image`, { method: 'POST', body: form, headers })
  expect(await uploaded.json()).toMatchObject({ name: 'Bär.png' })
  const back = await fetch(`${proxy.url}/view?filename=${encodeURIComponent('Bär.png')}&type=input`, { headers })
  expect((await back.arrayBuffer()).byteLength).toBe(3_000_000)
  const direct = await fetch(`${sim.url}/view?filename=${encodeURIComponent('Bär.png')}&type=input`, { method: 'HEAD' })
  expect(back.headers.get('content-disposition')).toBe(direct.headers.get('content-disposition'))
})
