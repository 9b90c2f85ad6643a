import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { BrowserContext, Page } from 'playwright-core'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { atWork, type House, hasChromium, logIn, openHouse } from './support.ts'

/** Where the browser finds the house: by address, where no cookie has a Domain, and by a name. */
const NAME = 'comfy.test'

describe.skipIf(!hasChromium)('a page on another port of the same host', () => {
  let house: House
  let below: House
  let neighbour: Server
  let person: BrowserContext
  let page: Page

  beforeAll(async () => {
    house = await openHouse({ allowHosts: [NAME] })
    below = await openHouse({ basePath: '/comfy' })
    neighbour = createServer((request, response) => {
      const { searchParams } = new URL(request.url ?? '/', 'http://x')
      const cookie = searchParams.get('cookie') ?? ''
      response.setHeader('Content-Type', 'text/html')
      if (searchParams.get('by') === 'header') response.setHeader('Set-Cookie', cookie)
      response.end(
        searchParams.get('by') === 'script' ? `<script>document.cookie = ${JSON.stringify(cookie)}</script>` : '<p>x',
      )
    })
    await new Promise<void>((resolve) => neighbour.listen(0, resolve))
  })
  afterAll(async () => {
    neighbour?.close()
    await house?.close()
    await below?.close()
  })
  beforeEach(async () => {
    ;({ person, page } = await house.visit())
  })

  const urlOf = (of: House, host: string) => of.url.replace('127.0.0.1', host)

  /** A cookie of our name with a live session of somebody else's key. */
  async function theirCookie(of: House): Promise<string> {
    const headers = { 'Content-Type': 'application/json', Accept: 'application/json' }
    const body = JSON.stringify({ api_key: of.otherKey })
    const answer = await fetch(`${of.url}/auth_login.html`, { method: 'POST', headers, body })
    return answer.headers.getSetCookie()[0]!.split(';')[0]!
  }

  /** A visit to the other port, in another tab, that leaves this cookie. */
  async function toss(cookie: string, by: 'header' | 'script', host = '127.0.0.1'): Promise<void> {
    const tab = await person.newPage()
    const { port } = neighbour.address() as AddressInfo
    await tab.goto(`http://${host}:${port}/?${new URLSearchParams({ by, cookie })}`)
    await tab.close()
  }

  const queue = () => page.evaluate("fetch('/api/queue').then(({ status }) => status)")
  const lives = async (of: House, Cookie: string) =>
    (await fetch(`${of.url}/queue`, { headers: { Cookie } })).status === 200
  const replacedNote = () => page.getByText('Another login took the place of yours in this browser').waitFor()
  const own = async () =>
    (await person.cookies())
      .filter(({ name }) => name.startsWith('comfy_auth'))
      .map(({ domain, path }) => domain + path)

  async function atHome(host = '127.0.0.1'): Promise<void> {
    await page.goto(urlOf(house, host))
    await logIn(page, house.key)
    await atWork(page)
  }

  /** Paths that the tab's main frame was sent to. */
  function journey(): string[] {
    const paths: string[] = []
    page.on('framenavigated', (frame) => frame === page.mainFrame() && paths.push(new URL(frame.url()).pathname))
    return paths
  }

  test('that puts its session over ours: nothing is sent as them, the login says so and stands, and then all is ours', async () => {
    await atHome()
    const theirs = await theirCookie(house)
    await toss(`${theirs}; Path=/`, 'header')
    house.sim.clearRequests()
    const paths = journey()
    expect(await queue()).toBe(401)
    await replacedNote()
    expect(house.sim.requests.filter(({ target }) => target === '/api/queue')).toEqual([])
    expect(paths).toEqual(['/auth_login.html'])
    // Asked again by hand, from the start and at the login itself, it stands again
    await page.goto(`${house.url}/auth_login.html?next=%2F%3Fa%23b`)
    await replacedNote()
    expect(page.url()).toBe(`${house.url}/auth_login.html?notice=replaced&next=%2F%3Fa%23b`)
    await logIn(page, house.key)
    await atWork(page)
    expect(page.url()).toBe(`${house.url}/?a#b`)
    expect(await queue()).toBe(200)
    expect(await lives(house, theirs)).toBe(false)
  })

  test('a reload after that does not go on as them either, nor does a tab that holds no token', async () => {
    await atHome()
    const second = await person.newPage()
    await second.goto(`${house.url}/?second`)
    await atWork(second)
    await toss(`${await theirCookie(house)}; Path=/`, 'header')
    await page.reload()
    expect(await queue()).toBe(401)
    await replacedNote()
    await second.getByText('Another login took the place of yours').waitFor()
    await logIn(page, house.key)
    await atWork(page)
    await atWork(second)
    expect(second.url()).toBe(`${house.url}/?second`)
    expect(await queue()).toBe(200)
  })

  test.each([
    ['header', '/api', '127.0.0.1', ''],
    ['script', '/api', '127.0.0.1', ''],
    ['script', '/api/', '127.0.0.1', ''],
    ['script', '/api/queue', '127.0.0.1', ''],
    ['header', '/api', NAME, `; Domain=${NAME}`],
    ['script', '/', NAME, `; Domain=${NAME}`],
  ] as const)(
    'by %s, for %s of %s%s: the page goes on by itself, and only our cookie stays',
    async (by, path, host, domain) => {
      await atHome(host)
      const theirs = await theirCookie(house)
      await toss(`${theirs}; Path=${path}${domain}`, by, host)
      expect((await own()).length).toBe(2)
      const paths = journey()
      expect(await queue()).toBe(200)
      expect(await own()).toEqual([`${host}/`])
      await page.reload()
      await atWork(page)
      expect(paths.every((at) => at === '/')).toBe(true)
      expect(await lives(house, theirs)).toBe(true) // it was not here that it was to be ended
    },
  )

  test('a page load with two sessions for the whole domain shows the page after all', async () => {
    await atHome(NAME)
    await toss(`${await theirCookie(house)}; Path=/; Domain=${NAME}`, 'header', NAME)
    await page.goto(`${urlOf(house, NAME)}/?x=1#y`)
    await atWork(page)
    expect(page.url()).toBe(`${urlOf(house, NAME)}/?x=1#y`)
    expect(await own()).toEqual([`${NAME}/`])
    // The login page asks, and is refused, before anything else could have cleared it away.
    await toss(`${await theirCookie(house)}; Path=/; Domain=${NAME}`, 'header', NAME)
    await page.goto(`${urlOf(house, NAME)}/auth_login.html?next=%2F%3Fz`)
    await atWork(page)
    expect(page.url()).toBe(`${urlOf(house, NAME)}/?z`)
  })

  test('a write that met two sessions is sent once more where its body is still there, and reaches ComfyUI once', async () => {
    await atHome()
    const post = (script: string) => page.evaluate(`fetch(${script}).then(({ status }) => status)`)
    const arrived = () => house.sim.requests.filter(({ target }) => target === '/api/settings/tossed').length
    house.sim.clearRequests()
    await toss(`${await theirCookie(house)}; Path=/api`, 'script')
    expect(await post("'/api/settings/tossed', { method: 'POST', body: '1' }")).toBe(200)
    expect(arrived()).toBe(1)
    await toss(`${await theirCookie(house)}; Path=/api`, 'script')
    const request = "new Request('/api/settings/tossed', { method: 'POST', body: '1' })"
    expect(await post(request)).toBe(401) // its body went with it
    expect(arrived()).toBe(1)
    expect(await post(request)).toBe(200)
    expect(arrived()).toBe(2)
  })

  test('for the socket alone: it comes back by itself', async () => {
    await atHome()
    await toss(`${await theirCookie(house)}; Path=/ws`, 'script')
    await page.reload()
    await atWork(page)
    expect(await own()).toEqual(['127.0.0.1/'])
  })

  test('above --base-path: the page goes on by itself', async () => {
    await page.goto(below.url)
    await logIn(page, below.key)
    await atWork(page)
    await toss(`${await theirCookie(below)}; Path=/`, 'header')
    expect(await page.evaluate("fetch('/comfy/api/queue').then(({ status }) => status)")).toBe(200)
    await page.reload()
    await atWork(page)
    expect(await own()).toEqual(['127.0.0.1/comfy/'])
  })

  test('that tosses what is no live session, or asks us for things, ends nothing', async () => {
    await atHome()
    const before = (await person.cookies()).map(({ value }) => value)
    await toss(`comfy_auth_${new URL(house.url).port}=comfys_${'0'.repeat(43)}; Path=/api`, 'script')
    const tab = await person.newPage()
    const { port } = neighbour.address() as AddressInfo
    for (const host of ['127.0.0.1', 'localhost']) {
      await tab.goto(`http://${host}:${port}/`)
      await tab.evaluate(`Promise.allSettled(['/', '/api/queue', '/auth_login.html', '/auth_logout'].flatMap((path) => {
        const address = ${JSON.stringify(house.url)} + path
        return ['GET', 'POST'].map((method) => fetch(address, { method, mode: 'no-cors', credentials: 'include' }))
          .concat(fetch(address, { credentials: 'include', headers: { Authorization: 'Bearer comfyt_${'0'.repeat(43)}' } }))
      }))`)
    }
    expect(await queue()).toBe(200)
    expect((await person.cookies()).map(({ value }) => value)).toEqual(expect.arrayContaining(before))
    await page.reload()
    await atWork(page)
  })

  test('a login of one’s own in another tab lets the first one work on', async () => {
    await atHome()
    const second = await person.newPage()
    await second.goto(`${house.url}/auth_login.html?notice=logged-out`)
    await logIn(second, house.otherKey)
    await atWork(second)
    const paths = journey()
    expect(await queue()).toBe(200)
    expect(paths).toEqual([])
  })
})
