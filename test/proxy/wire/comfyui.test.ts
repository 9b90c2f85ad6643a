import { randomUUID } from 'node:crypto'
import { Readable } from 'node:stream'
import { gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { createSim, type Sim } from '../../../src/sim/sim.ts'
import { closing } from '../../support/closers.ts'
import { ADMIN, exchange, OTHER, proxied, startProxy, type TestProxy, USER } from './support.ts'

const PAGE = '<!doctype html><html><head><title>ComfyUI</title></head><body></body></html>'

async function start(options: Parameters<typeof createSim>[0] = {}): Promise<{ sim: Sim; proxy: TestProxy }> {
  const sim = closing(await createSim({ indexHtml: PAGE, ...options }))
  const proxy = closing(await startProxy(sim.url))
  return { sim, proxy }
}

const as = (key: string) => ({ authorization: `Bearer ${key}` })

const PROMPT = {
  '1': { class_type: 'EmptyImage', inputs: { width: 16, height: 16, batch_size: 1, color: 0 } },
  '2': { class_type: 'PreviewImage', inputs: { images: ['1', 0] } },
}

async function submit(url: string, key: string | undefined, body: object = {}): Promise<{ prompt_id: string }> {
  const response = await fetch(`${url}/prompt`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(key === undefined ? {} : as(key)) },
    body: JSON.stringify({ prompt: PROMPT, ...body }),
  })
  expect(response.status).toBe(200)
  return (await response.json()) as { prompt_id: string }
}

async function stop(url: string, key: string, promptId: string): Promise<number> {
  const body = JSON.stringify({ delete: [promptId] })
  return (await fetch(`${url}/queue`, { method: 'POST', headers: as(key), body })).status
}

describe('whose prompt it is', () => {
  /** A queue that stands still: everything but the first prompt waits. */
  const HELD = { faults: { hangNodes: ['EmptyImage'] } }

  test("the answer to POST /prompt makes it the key's own, from the moment it is read", async () => {
    const { sim, proxy } = await start(HELD)
    await submit(sim.url, undefined)
    const { prompt_id: id } = await submit(proxy.url, USER)
    expect(await stop(proxy.url, OTHER, id)).toBe(403)
    expect(await stop(proxy.url, USER, id)).toBe(200)
    const queue = (await (await fetch(`${sim.url}/queue`)).json()) as { queue_pending: unknown[] }
    expect(queue.queue_pending).toEqual([])
  })

  test('an id that waits already, put there past the proxy, gives nothing', async () => {
    const { sim, proxy } = await start(HELD)
    const id = randomUUID()
    await submit(sim.url, undefined)
    await submit(sim.url, undefined, { prompt_id: id })
    expect((await submit(proxy.url, USER, { prompt_id: id, front: true })).prompt_id).toBe(id)
    expect(await stop(proxy.url, USER, id)).toBe(403)
  })

  test('an id that runs already gives nothing', async () => {
    const { sim, proxy } = await start(HELD)
    const id = randomUUID()
    await submit(sim.url, undefined, { prompt_id: id })
    await submit(proxy.url, USER, { prompt_id: id })
    expect(await stop(proxy.url, USER, id)).toBe(403)
  })

  test('an id in the history gives nothing', async () => {
    const { sim, proxy } = await start()
    const id = randomUUID()
    await submit(sim.url, undefined, { prompt_id: id })
    for (;;) {
      const history = (await (await fetch(`${sim.url}/history/${id}`)).json()) as object
      if (Object.keys(history).length > 0) break
    }
    sim.setFaults({ hangNodes: ['EmptyImage', 'PreviewImage'] })
    await submit(proxy.url, USER, { prompt_id: id })
    expect(await stop(proxy.url, USER, id)).toBe(403)
  })

  test("an id of another key is nobody's once this one's prompt has it too", async () => {
    const { sim, proxy } = await start(HELD)
    await submit(sim.url, undefined)
    const { prompt_id: id } = await submit(proxy.url, USER)
    await submit(proxy.url, OTHER, { prompt_id: id })
    expect(await stop(proxy.url, OTHER, id)).toBe(403)
    expect(await stop(proxy.url, USER, id)).toBe(403)
  })

  test('an upstream that will not say is a doubt: the answer arrives, and nobody owns it', async () => {
    const { sim, proxy } = await start(HELD)
    await submit(sim.url, undefined)
    sim.setFaults({ hangNodes: ['EmptyImage'], http: [{ path: '/history/', kind: 'status', status: 500 }] })
    const { prompt_id: id } = await submit(proxy.url, USER, { prompt_id: randomUUID() })
    expect(await stop(proxy.url, USER, id)).toBe(403)
  })

  test("an id of ComfyUI's own making is the key's without a question, even where its prompt has ended already", async () => {
    const { sim, proxy } = await start({ faults: { http: [{ path: '/history/', kind: 'status', status: 500 }] } })
    const { prompt_id: id } = await submit(proxy.url, USER)
    expect(await stop(proxy.url, USER, id)).toBe(200)
    expect(await stop(proxy.url, OTHER, id)).toBe(403)
    expect(sim.requests.map(({ target }) => target)).toEqual(['/prompt', '/queue'])
  })

  test.each([
    ['its letters escaped', {}, (body: string) => body.replace('prompt_id', 'prompt\\u005fid')],
    ['gzip', { 'content-encoding': 'gzip' }, (body: string) => gzipSync(body)],
    ['UTF-16', { 'content-type': 'application/json; charset=utf-16' }, (body: string) => Buffer.from(body, 'utf16le')],
  ])('an id that the client chose is asked for, whatever hides its name: %s', async (_, headers, hide) => {
    const { sim, proxy } = await start(HELD)
    const id = randomUUID()
    await submit(sim.url, undefined)
    await submit(sim.url, undefined, { prompt_id: id })
    const body = hide(JSON.stringify({ prompt: PROMPT, prompt_id: id }))
    const response = await fetch(`${proxy.url}/prompt`, { method: 'POST', headers: { ...as(USER), ...headers }, body })
    expect(await response.json()).toMatchObject({ prompt_id: id })
    expect(await stop(proxy.url, USER, id)).toBe(403)
  })

  test('an id that the client chose is asked for, in whatever pieces its name arrives', async () => {
    const { sim, proxy } = await start(HELD)
    const id = randomUUID()
    await submit(sim.url, undefined)
    await submit(sim.url, undefined, { prompt_id: id })
    for (let cut = 1; cut < 'prompt_id'.length; cut++) {
      const body = JSON.stringify({ prompt: PROMPT, prompt_id: id })
      const at = body.indexOf('prompt_id') + cut
      const pieces = [body.slice(0, at), body.slice(at, at + 1), body.slice(at + 1)]
      const stream = Readable.from(pieces.map((piece) => Buffer.from(piece)))
      const response = await fetch(`${proxy.url}/prompt`, {
        method: 'POST',
        headers: as(USER),
        body: stream,
        duplex: 'half',
      })
      expect(await response.json()).toMatchObject({ prompt_id: id })
      expect(await stop(proxy.url, USER, id)).toBe(403)
    }
  })

  test('a body for /queue goes up re-serialised, with its one checked member', async () => {
    const { sim, proxy } = await start(HELD)
    await submit(sim.url, undefined)
    const { prompt_id: id } = await submit(proxy.url, USER)
    sim.clearRequests()
    const body = `{ "delete" : ["${id}"], "more": 1 }`
    await fetch(`${proxy.url}/queue`, { method: 'POST', headers: { ...as(USER), 'content-type': 'text/plain' }, body })
    const [request] = sim.requests
    expect(request!.target).toBe('/queue')
    expect(request!.body.text).toBe(`{"delete":["${id}"]}`)
  })

  test('a body for /queue that is too long is 400, and nothing goes up', async () => {
    const { sim, proxy } = await start()
    const body = JSON.stringify({ delete: ['x'.repeat(70_000)] })
    const response = await fetch(`${proxy.url}/queue`, { method: 'POST', headers: as(USER), body })
    expect(response.status).toBe(400)
    const chunked = `POST /queue HTTP/1.1\r\nHost: localhost\r\nX-API-Key: ${USER}\r\nTransfer-Encoding: chunked\r\n\r\n11170\r\n${'x'.repeat(70_000)}\r\n0\r\n\r\n`
    expect(await exchange(proxy.port, chunked.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n'))).toMatch(
      /^HTTP\/1.1 400 /,
    )
    expect(sim.requests).toEqual([])
  })
})

describe('the index page', () => {
  test('comes with our script, asked for whole and uncompressed; HEAD has its length', async () => {
    const { sim, proxy } = await start()
    const headers = { ...as(ADMIN), 'accept-encoding': 'gzip', 'if-none-match': '"x"', range: 'bytes=0-3' }
    const page = await fetch(`${proxy.url}/`, { headers })
    const html = await page.text()
    expect(page.status).toBe(200)
    expect(html).toContain('<head><script src="/auth_inject.js"')
    expect(page.headers.get('content-length')).toBe(String(Buffer.byteLength(html)))
    expect(page.headers.get('etag')).toBe(null)
    const head = await fetch(`${proxy.url}/`, { method: 'HEAD', headers: as(ADMIN) })
    expect(head.headers.get('content-length')).toBe(String(Buffer.byteLength(html)))
    const sent = sim.requests[0]!.headers.map((text) => text.toLowerCase())
    expect(sent).not.toContain('range')
    expect(sent).not.toContain('if-none-match')
    expect(sent[sent.indexOf('accept-encoding') + 1]).toBe('identity')
  })

  test('longer than 2 MiB passes as it is', async () => {
    const long = PAGE.replace('</body>', `${' '.repeat(3 * 1024 * 1024)}</body>`)
    const { proxy } = await start({ indexHtml: long })
    const page = await fetch(`${proxy.url}/`, { headers: as(ADMIN) })
    expect(page.headers.get('content-length')).toBe(String(long.length))
    expect((await page.text()) === long).toBe(true)
    const head = await fetch(`${proxy.url}/`, { method: 'HEAD', headers: as(ADMIN) })
    expect(head.headers.get('content-length')).toBe(String(long.length))
  })

  test('compressed all the same, it passes as it is, validators and all', async () => {
    const body = gzipSync(PAGE)
    const head = `HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\nETag: "e"\r\nContent-Length: ${body.length}\r\n\r\n`
    const { proxy } = await proxied(({ socket }) => socket.write(Buffer.concat([Buffer.from(head), body])))
    const page = await fetch(`${proxy.url}/`, { headers: as(ADMIN) })
    expect(page.headers.get('etag')).toBe('"e"')
    expect(await page.text()).toBe(PAGE)
  })
})

test('the login page on /, a session by its form, the page by its cookie, and the way out', async () => {
  const { sim, proxy } = await start()
  const navigation = {
    accept: 'text/html',
    'sec-fetch-site': 'none',
    'sec-fetch-mode': 'navigate',
    'sec-fetch-dest': 'document',
  }
  const door = await fetch(`${proxy.url}/`, { headers: navigation })
  expect(door.status).toBe(401)
  expect(await door.text()).toContain('name="api_key"')
  expect(sim.requests).toEqual([])

  const own = { 'sec-fetch-site': 'same-origin', origin: proxy.url }
  const login = await fetch(`${proxy.url}/auth_login.html`, {
    method: 'POST',
    headers: own,
    body: new URLSearchParams({ api_key: USER, next: '/' }),
    redirect: 'manual',
  })
  expect(login.status).toBe(303)
  const cookie = login.headers.get('set-cookie')!.split(';')[0]!
  expect(cookie).toMatch(new RegExp(`^comfy_auth_${proxy.port}=comfys_`))

  const page = await fetch(`${proxy.url}/`, { headers: { ...navigation, cookie: `other=1; ${cookie}` } })
  expect(page.status).toBe(200)
  expect(await page.text()).toContain('/auth_inject.js')
  expect(JSON.stringify(sim.requests)).not.toMatch(/comfys_|user-key/)

  const foreign = await fetch(`${proxy.url}/queue`, { headers: { cookie, 'sec-fetch-site': 'cross-site' } })
  expect(foreign.status).toBe(403)
  await fetch(`${proxy.url}/auth_logout`, { method: 'POST', headers: { ...own, cookie } })
  expect((await fetch(`${proxy.url}/queue`, { headers: { ...own, cookie } })).status).toBe(401)
})

test("/health is the guide's JSON without a key, and asks the upstream once for many", async () => {
  const { sim, proxy } = await start()
  const answers = await Promise.all(Array.from({ length: 20 }, () => fetch(`${proxy.url}/health`)))
  expect(await answers[0]!.json()).toMatchObject({ status: 'ok', queue: { pending: 0, running: 0 }, vram: {} })
  expect(sim.requests.map(({ target }) => target).toSorted()).toEqual(['/prompt', '/system_stats'])
})

test('the login page answers 11 wrong keys with 429, and a live key of ours still comes in', async () => {
  const { proxy } = await start()
  const statuses: number[] = []
  for (let i = 0; i < 12; i++)
    statuses.push((await fetch(`${proxy.url}/queue`, { headers: as(`wrong-key-${i}`) })).status)
  expect(statuses.at(0)).toBe(401)
  expect(statuses.at(-1)).toBe(429)
})
