import { createServer, type Server } from 'node:http'
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { portOf } from '../support/ports.ts'
import { atWork, type House, hasChromium, logIn, openHouse } from './support.ts'

/** What was sent, as the browser's own network layer has it. */
interface Sent {
  readonly method: string
  readonly authorization: string | undefined
  readonly body: string | null
}

describe.skipIf(!hasChromium)('auth_inject.js in Chromium', () => {
  let house: House
  let page: Page
  let foreign: Server
  let foreignUrl: string
  const foreignHeaders: Record<string, unknown>[] = []

  beforeAll(async () => {
    house = await openHouse()
    foreign = createServer((request, response) => {
      foreignHeaders.push(request.headers)
      response.setHeader('Access-Control-Allow-Origin', '*').end('foreign')
    })
    // Another host: the browser itself keeps no cookie from another port of the same one.
    foreignUrl = `http://localhost:${await portOf(foreign)}/`
    page = await (await house.person()).newPage()
    await page.goto(house.url)
    await logIn(page, house.key)
    await atWork(page)
  })
  afterAll(async () => {
    foreign?.close()
    await house?.close()
  })

  /** Runs `script` in the page, and tells its value and the requests to `path` that it made. */
  async function sent(path: string, script: string): Promise<{ value: unknown; requests: Sent[] }> {
    const requests: Promise<Sent>[] = []
    const listener = (request: import('playwright-core').Request) => {
      if (new URL(request.url()).pathname !== path) return
      requests.push(
        request.allHeaders().then((headers) => ({
          method: request.method(),
          authorization: headers.authorization,
          body: request.postData(),
        })),
      )
    }
    page.on('request', listener)
    const value = await page.evaluate(script)
    page.off('request', listener)
    return { value, requests: await Promise.all(requests) }
  }

  const TOKEN = /^Bearer comfyt_\w{43}$/

  test.each([
    ['a path', "fetch('/api/queue').then(({ status }) => status)"],
    ['a URL', "fetch(new URL('/api/queue', location.href)).then(({ status }) => status)"],
    ['a Request', "fetch(new Request('/api/queue')).then(({ status }) => status)"],
    ['a Request and an init', "fetch(new Request('/api/queue'), { cache: 'no-store' }).then(({ status }) => status)"],
    ['headers as a list', "fetch('/api/queue', { headers: [['X-A', 'b']] }).then(({ status }) => status)"],
    [
      'an init that inherits',
      "fetch('/api/queue', Object.create({ headers: { 'X-A': 'b' } })).then(({ status }) => status)",
    ],
    [
      'an init that computes from private fields',
      "fetch('/api/queue', new (class { #a = { 'X-A': 'b' }; get headers() { return this.#a } })()).then(({ status }) => status)",
    ],
    [
      'a Request of another frame',
      "(({ contentWindow: w }) => fetch(new w.Request('/api/queue', { headers: { 'X-A': 'b' } })).then(({ status }) => status))(document.body.appendChild(document.createElement('iframe')))",
    ],
    ['a null init', "fetch('/api/queue', null).then(({ status }) => status)"],
    ['keepalive', "fetch('/api/queue', { keepalive: true }).then(({ status }) => status)"],
    [
      'XMLHttpRequest',
      "new Promise((resolve) => { const x = new XMLHttpRequest(); x.open('GET', '/api/queue'); x.onload = () => resolve(x.status); x.send() })",
    ],
    [
      'XMLHttpRequest, synchronous',
      "(() => { const x = new XMLHttpRequest(); x.open('GET', '/api/queue', false); x.send(); return x.status })()",
    ],
    [
      'XMLHttpRequest, twice',
      "(() => { const x = new XMLHttpRequest(); for (let i = 0; i < 2; i++) { x.open('GET', '/api/queue', false); x.send() } return x.status })()",
    ],
  ])('%s carries the token', async (_, script) => {
    const { value, requests } = await sent('/api/queue', script)
    expect(value).toBe(200)
    for (const { authorization } of requests) expect(authorization).toMatch(TOKEN)
    expect(requests.length).toBeGreaterThan(0)
  })

  test('bodies, methods and a caller’s own Authorization arrive as they were', async () => {
    const put = "fetch(new Request('/api/settings/a', { method: 'POST', body: '\"x\"' })).then(({ status }) => status)"
    const { requests } = await sent('/api/settings/a', put)
    expect(requests).toEqual([{ method: 'POST', authorization: expect.stringMatching(TOKEN), body: '"x"' }])
    for (const script of [
      "fetch('/api/queue', { headers: { authorization: 'Bearer mine' } }).then(() => 1)",
      "fetch(new Request('/api/queue', { headers: { authorization: 'Bearer mine' } })).then(() => 1)",
      "(() => { const x = new XMLHttpRequest(); x.open('GET', '/api/queue', false); x.setRequestHeader('Authorization', 'Bearer mine'); x.send() })()",
    ]) {
      const own = await sent('/api/queue', script)
      expect(own.requests.map(({ authorization }) => authorization)).toEqual(['Bearer mine'])
    }
  })

  test('an aborted fetch, a used body and a wrong argument fail as they do without us', async () => {
    const outcome = (script: string) => page.evaluate(`(${script}).then(() => 'resolved', (error) => error.name)`)
    expect(await outcome("fetch('/api/queue', { signal: AbortSignal.abort() })")).toBe('AbortError')
    expect(await outcome("fetch(new Request('/api/queue', { signal: AbortSignal.abort() }))")).toBe('AbortError')
    const used =
      "(async () => { const r = new Request('/api/queue', { method: 'POST', body: 'x' }); await r.text(); await fetch(r) })()"
    expect(await outcome(used)).toBe('TypeError')
    expect(await outcome("fetch('/api/queue', { headers: { 'a b': 'c' } })")).toBe('TypeError')
    expect(await outcome("fetch('http://')")).toBe('TypeError')
    expect(await outcome('fetch()')).toBe('TypeError')
  })

  test('a Request is not changed by being sent', async () => {
    const script =
      "(async () => { const r = new Request('/api/queue'); await fetch(r); return [...r.headers].length })()"
    expect((await sent('/api/queue', script)).value).toBe(0)
  })

  test('another origin gets nothing of ours, by whatever way it is asked', async () => {
    foreignHeaders.length = 0
    await page.evaluate(`(async () => {
      const url = ${JSON.stringify(foreignUrl)}
      await fetch(url)
      await fetch(new Request(url))
      await new Promise((resolve) => { const x = new XMLHttpRequest(); x.open('GET', url); x.onloadend = resolve; x.send() })
      navigator.sendBeacon(url, 'x')
      await fetch(url)
    })()`)
    expect(foreignHeaders.length).toBeGreaterThanOrEqual(4)
    expect(JSON.stringify(foreignHeaders)).not.toMatch(/comfyt_|comfys_|authorization/)
  })

  test('nor where what names it is a Request of another frame, or an address that changes, or an open that failed', async () => {
    foreignHeaders.length = 0
    const outcomes = await page.evaluate(`(async () => {
      const url = ${JSON.stringify(foreignUrl)}
      const { contentWindow } = document.body.appendChild(document.createElement('iframe'))
      const turning = (first, then) => { let asked = 0; return { toString: () => asked++ === 0 ? first : then } }
      const xhr = (...opens) => new Promise((resolve) => {
        const x = new XMLHttpRequest()
        for (const args of opens) try { x.open(...args) } catch {}
        x.onloadend = () => resolve(x.responseURL)
        x.send()
      })
      return [
        await fetch(new contentWindow.Request(url)).then(({ url }) => url),
        await fetch(turning('/api/queue', url)).then(({ url }) => url),
        await fetch(turning(url, '/api/queue')).then(({ url }) => url),
        await xhr(['GET', url], ['BAD METHOD', '/api/queue']),
        await xhr(['GET', turning('/api/queue', url)]),
        await xhr(['GET', turning(url, '/api/queue')]),
      ]
    })()`)
    const ours = `${house.url}/api/queue`
    expect(outcomes).toEqual([foreignUrl, ours, foreignUrl, foreignUrl, ours, foreignUrl])
    expect(foreignHeaders).toHaveLength(4)
    expect(JSON.stringify(foreignHeaders)).not.toMatch(/comfyt_|comfys_|authorization/)
  })

  test('an open that failed leaves the request before it as it was, token and all', async () => {
    const script =
      "(() => { const x = new XMLHttpRequest(); x.open('GET', '/api/queue', false); try { x.open('GET', 'http://[', false) } catch {} x.send(); return x.status })()"
    const { value, requests } = await sent('/api/queue', script)
    expect([value, requests[0]?.authorization]).toEqual([200, expect.stringMatching(TOKEN)])
  })

  test('what is wrapped looks as the browser’s own does', async () => {
    expect(
      await page.evaluate(`(() => {
        const { contentWindow: w } = document.body.appendChild(document.createElement('iframe'))
        const socket = new WebSocket('/ws?clientId=z')
        const differs = [
          (of) => [of.fetch.name, of.fetch.length, of.navigator.sendBeacon.length, Object.hasOwn(of.navigator, 'sendBeacon')],
          (of) => ['open', 'send', 'setRequestHeader'].map((name) => of.XMLHttpRequest.prototype[name].length),
          (of) => { try { return typeof new of.fetch('/api/queue') } catch (error) { return error.name } },
          (of) => [of.WebSocket.length, of.WebSocket.prototype.constructor === of.WebSocket],
        ].filter((look) => JSON.stringify(look(window)) !== JSON.stringify(look(w)))
        return [differs.map(String), socket.constructor === WebSocket]
      })()`),
    ).toEqual([[], true])
  })

  test('an upload goes out whole, with its length, and an address and an init are asked for their values once', async () => {
    house.sim.clearRequests()
    const outcome = await page.evaluate(`(async () => {
      let asked = 0
      const address = { toString() { asked++; return '/api/upload/image' } }
      const body = new FormData()
      body.append('image', new File([new Uint8Array(3_000_000)], 'large.png'))
      const init = { get method() { asked++; return 'POST' }, get body() { asked++; return body } }
      return [(await fetch(address, init)).status, asked]
    })()`)
    expect(outcome).toEqual([200, 3])
    const upload = house.sim.requests.find(({ target }) => target === '/api/upload/image')
    expect(JSON.stringify(upload?.headers)).toMatch(/"content-length"\W+3000\d{3}"/i)
  })

  test('beacons beyond what the browser takes at a time are refused, as its own are', async () => {
    house.sim.setFaults({ http: [{ path: '/api/settings/many', kind: 'delay', ms: 1000 }] })
    const many = (of: string) =>
      page.evaluate(
        `(({ contentWindow }) => Array.from({ length: 8 }, () => ${of}.navigator.sendBeacon('/api/settings/many', 'x'.repeat(10_000))))(document.body.appendChild(document.createElement('iframe')))`,
      )
    const values = await many('window')
    house.sim.setFaults({})
    expect(values).toEqual([true, true, true, true, true, true, false, false])
  })

  test('a beacon carries the token and its body', async () => {
    const { value, requests } = await sent('/api/settings/beacon', "navigator.sendBeacon('/api/settings/beacon', '1')")
    expect(value).toBe(true)
    await expect
      .poll(() => requests)
      .toEqual([{ method: 'POST', authorization: expect.stringMatching(TOKEN), body: '1' }])
  })

  test('sockets and event streams are still what they were', async () => {
    expect(
      await page.evaluate(`[
        new WebSocket('/ws?clientId=x') instanceof WebSocket,
        WebSocket.OPEN,
        class extends WebSocket {}.name,
        new (class Mine extends WebSocket { extra() { return 1 } })('/ws?clientId=y').extra(),
        new EventSource('/nothing') instanceof EventSource,
      ]`),
    ).toEqual([true, 1, '', 1, true])
  })
})
