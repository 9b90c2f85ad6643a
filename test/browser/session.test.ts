import type { BrowserContext, Page } from 'playwright-core'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createSim } from '../../src/sim/sim.ts'
import { closing } from '../support/closers.ts'
import { freePort } from '../support/ports.ts'
import { atWork, type House, hasChromium, INDEX, logIn, openHouse, storedToken } from './support.ts'

describe.skipIf(!hasChromium)('a session in Chromium', () => {
  let house: House
  let person: BrowserContext
  let page: Page
  beforeAll(async () => {
    house = await openHouse()
  })
  afterAll(() => house?.close())
  beforeEach(async () => {
    ;({ person, page } = await house.visit())
    await page.goto(house.url)
  })

  const queue = (of: Page) => of.evaluate("fetch('/api/queue').then(({ status }) => status)")
  const atLogin = (of: Page) => of.getByLabel('API key').waitFor()

  test('comfyuiLogout() ends it on the server, closes its sockets with 4401 and acts in every tab', async () => {
    await logIn(page, house.key, { remember: true })
    await atWork(page)
    const second = await person.newPage()
    await second.goto(`${house.url}/?second`)
    await atWork(second)
    const closes = second.evaluate(
      'new Promise((resolve) => { const i = setInterval(() => { if (closes.length) { clearInterval(i); resolve(closes[0]) } }, 10) })',
    )
    await page.evaluate('void comfyuiLogout()')
    expect(await closes).toBe(4401)
    await Promise.all([atLogin(page), atLogin(second)])
    expect(await page.getByRole('status').textContent()).toBe('You are logged out.')
    expect(await storedToken(page)).toEqual({ local: null, session: null })
    expect(await person.cookies()).toEqual([])
  })

  test('who logs out reads so, though the sockets close before the answer arrives', async () => {
    await logIn(page, house.key)
    await atWork(page)
    await page.route('**/auth_logout', async (route) => {
      const response = await route.fetch()
      await page.waitForFunction('closes.length > 2') // the session's end, and two that were refused
      await route.fulfill({ response })
    })
    await page.getByRole('button', { name: 'Log out' }).click()
    await page.getByText('You are logged out.').waitFor()
  })

  test('the small way out does the same', async () => {
    await logIn(page, house.key)
    await atWork(page)
    await page.getByRole('button', { name: 'Log out' }).click()
    await atLogin(page)
    expect(await person.cookies()).toEqual([])
  })

  test('the way out is found: in words or by its sign, in the page’s own colour, and on nothing of the page', async () => {
    await logIn(page, house.key)
    await atWork(page)
    await page.getByRole('button', { name: 'Log out' }).waitFor()
    // ComfyUI's tab strip, as its page has it: its colours are a palette's.
    await page.evaluate(`document.body.insertAdjacentHTML('beforeend', \`<div data-testid="integrated-tab-bar-actions"
      style="position: fixed; top: 0; right: 0; display: flex; padding: 0 8px"><button style="width: 32px">user</button></div>\`)`)
    const look = (): Promise<object> =>
      page.evaluate(`(() => {
        const button = document.querySelector('comfy-auth').shadowRoot.querySelector('button')
        const { color } = getComputedStyle(button)
        const text = button.querySelector('span').getBoundingClientRect()
        const strip = document.querySelector('[data-testid]').getBoundingClientRect()
        const { left, right, width, height } = button.getBoundingClientRect()
        return { color, words: text.width > 20, small: Math.min(width, height), clear: left >= strip.left && right <= strip.right - 40 }
      })()`)
    for (const [width, words] of [
      [1280, true],
      [360, false],
    ] as const) {
      await page.setViewportSize({ width, height: 740 })
      for (const colour of ['rgb(255, 255, 255)', 'rgb(34, 34, 34)']) {
        await page.evaluate(`document.documentElement.style.setProperty('--fg-color', '${colour}')`)
        expect(await look()).toEqual({ color: colour, words, small: 28, clear: true })
      }
    }
    await page.evaluate("document.documentElement.style = ''; document.body.style.color = 'rgb(1, 2, 3)'")
    expect(await look()).toMatchObject({ color: 'rgb(1, 2, 3)' })
  })

  test('the entry removed from storage by hand, as the guide has it, logs out with the next request', async () => {
    await logIn(page, house.key, { remember: true })
    await atWork(page)
    await page.evaluate(
      "localStorage.removeItem('comfyui_api_key'); sessionStorage.removeItem('comfyui_api_key'); void fetch('/api/queue')",
    )
    await atLogin(page)
    await expect.poll(() => person.cookies()).toEqual([])
  })

  test('a new tab without Remember me has no entry in its storage, and stays logged in', async () => {
    await logIn(page, house.key)
    await atWork(page)
    const second = await person.newPage()
    await second.goto(house.url)
    await atWork(second)
    expect(await storedToken(second)).toEqual({ local: null, session: null })
    expect(await queue(second)).toBe(200)
  })

  test('?logout=true logs out who typed it, and asks who was sent there by another site', async () => {
    const out = `${house.url}/auth_login.html?logout=true`
    await logIn(page, house.key)
    await atWork(page)
    await page.goto(house.foreignPage({ link: out }))
    await page.click('#link')
    await page.getByRole('heading', { name: 'Log out of ComfyUI?' }).waitFor()
    await page.getByRole('link', { name: 'Stay logged in' }).click()
    await atWork(page)
    await page.goto(out)
    await page.getByText('You are logged out.').waitFor()
    await page.goto(house.url)
    await atLogin(page)
  })

  test('a full storage, which keeps the mark and not the token, locks nobody out', async () => {
    // Room for the mark alone: where it stood without its entry, that was taken for a logout by hand.
    await page.evaluate(`(() => {
      for (let size = 1 << 22, i = 0; size >= 1; size >>= 1) {
        for (;;) try { localStorage.setItem('full' + i++, 'x'.repeat(size)) } catch { break }
      }
      const last = Object.keys(localStorage).find((name) => localStorage[name].length === 32)
      localStorage.removeItem(last)
    })()`)
    await logIn(page, house.key, { remember: true })
    await atWork(page)
    expect(await storedToken(page)).toEqual({ local: null, session: null })
    expect(await queue(page)).toBe(200)
    await page.reload()
    await atWork(page)
    expect(await person.cookies()).toHaveLength(1)
  })

  test('a storage whose every call throws: the cookie is enough, and the way out is there', async () => {
    await person.addInitScript(`for (const name of ['getItem', 'setItem', 'removeItem']) {
      Storage.prototype[name] = () => { throw new Error('broken') }
    }`)
    const errors: string[] = []
    page.on('pageerror', ({ message }) => errors.push(message))
    await page.reload()
    await logIn(page, house.key)
    await page.getByRole('button', { name: 'Log out' }).waitFor()
    expect(await queue(page)).toBe(200)
    await page.getByRole('button', { name: 'Log out' }).click()
    await atLogin(page)
    expect(await person.cookies()).toEqual([])
    expect(errors).toEqual([])
  })

  test('it ends while the page is open: the login comes once, nobody is locked out, and the page goes on where it was', async () => {
    await logIn(page, house.key)
    await atWork(page)
    const loads: string[] = []
    page.on('framenavigated', (frame) => frame === page.mainFrame() && loads.push(new URL(frame.url()).pathname))
    await page.evaluate("localStorage.setItem('draft', 'unsaved'); history.replaceState(null, '', '/?work#node-7')")
    await endAllSessions(person)
    await atLogin(page)
    expect(loads.filter((path) => path === '/auth_login.html')).toHaveLength(1)
    await logIn(page, house.key)
    await atWork(page)
    expect(page.url()).toBe(`${house.url}/?work#node-7`)
    expect(await page.evaluate("localStorage.getItem('draft')")).toBe('unsaved')
  })

  /** As a `sessions end` does: the server forgets them, and the browser does not know. */
  async function endAllSessions(of: BrowserContext): Promise<void> {
    const Cookie = (await of.cookies()).map(({ name, value }) => `${name}=${value}`).join('; ')
    const headers = { Cookie, Origin: house.url, 'Content-Type': 'application/json' }
    const answer = await fetch(`${house.url}/auth_logout`, { method: 'POST', headers })
    expect(answer.status).toBe(200)
  }

  test('who logs in in one tab is let in in another that shows the login', async () => {
    const second = await person.newPage()
    await second.goto(`${house.url}/?second`)
    await atLogin(second)
    await logIn(page, house.key)
    await Promise.all([atWork(page), atWork(second)])
    expect(second.url()).toBe(`${house.url}/?second`)
  })

  test('a 401 of ComfyUI’s own leads nobody to the login', async () => {
    await logIn(page, house.key)
    await atWork(page)
    house.sim.setFaults({ http: [{ path: '/api/settings', kind: 'status', status: 401 }] })
    const statuses = await page.evaluate(
      "Promise.all([1, 2, 3].map(() => fetch('/api/settings').then(({ status }) => status)))",
    )
    house.sim.setFaults({})
    expect(statuses).toEqual([401, 401, 401])
    expect(await queue(page)).toBe(200)
    expect(page.url()).toBe(`${house.url}/`)
  })

  test('what goes upstream holds no secret of ours', async () => {
    house.sim.clearRequests()
    await logIn(page, house.key)
    await atWork(page)
    await queue(page)
    const seen = JSON.stringify(house.sim.requests.map(({ target, headers }) => [target, headers]))
    expect(seen).toContain('/api/queue')
    expect(seen).not.toMatch(/comfy[st]?_\w{20}|authorization|comfy_auth/i)
  })
})

describe.skipIf(!hasChromium)('serve’s switches in Chromium', () => {
  test('over plain HTTP under a name, where browsers do not say who sent them, ?logout=true asks all but our own page', async () => {
    const house = closing(await openHouse({ allowHosts: ['comfy.test'] }))
    const { page } = await house.visit()
    const url = house.url.replace('127.0.0.1', 'comfy.test')
    const out = `${url}/auth_login.html?logout=true`
    const asks = () => page.getByRole('heading', { name: 'Log out of ComfyUI?' }).waitFor()
    await page.goto(url)
    await logIn(page, house.key)
    await atWork(page)
    for (const policy of ['no-referrer', 'unsafe-url']) {
      await page.goto(house.foreignPage({ link: out }))
      await page.evaluate(`document.querySelector('#link').referrerPolicy = '${policy}'`)
      await page.click('#link')
      await asks()
      await page.getByRole('link', { name: 'Stay logged in' }).click()
      await atWork(page)
    }
    await page.goto(out) // typed: one click more
    await asks()
    await page.getByRole('button', { name: 'Log out' }).click()
    await page.getByText('You are logged out.').waitFor()
    await logIn(page, house.key)
    await atWork(page)
    await page.evaluate(`location.href = ${JSON.stringify(out)}`)
    await page.getByText('You are logged out.').waitFor()
  })

  test('ComfyUI restarts behind the proxy: the page finds it again by itself, still logged in', async () => {
    const port = await freePort()
    const house = await openHouse({ upstream: `http://127.0.0.1:${port}` })
    let sim = await createSim({ port, indexHtml: INDEX })
    try {
      const { page } = await house.visit()
      await page.goto(house.url)
      await logIn(page, house.key)
      await atWork(page)
      await sim.close()
      await page.locator('body[data-socket=closed]').waitFor()
      sim = await createSim({ port, indexHtml: INDEX })
      await atWork(page)
      expect(page.url()).toBe(`${house.url}/`)
      expect(await page.evaluate("fetch('/api/queue').then(({ status }) => status)")).toBe(200)
    } finally {
      await house.close()
      await sim.close()
    }
  })

  test('--comfy-user pass before --multi-user: users are chosen, and a missing one leads nobody to the login', async () => {
    const house = closing(await openHouse({ comfyUser: 'pass', simFlags: { multiUser: true } }))
    const { page } = await house.visit()
    await page.goto(house.url)
    await logIn(page, house.key)
    await atWork(page)
    const statuses = await page.evaluate(`(async () => {
      const post = await fetch('/api/users', { method: 'POST', body: JSON.stringify({ username: 'ann' }) })
      const id = await post.json()
      const asUser = (user) => fetch('/api/settings', { headers: { 'Comfy-User': user } }).then(({ status }) => status)
      return [post.status, await asUser(id), await asUser(''), await asUser('nobody')]
    })()`)
    expect(statuses).toEqual([200, 200, 401, 401])
    expect(page.url()).toBe(`${house.url}/`)
    expect(await page.evaluate("fetch('/api/queue').then(({ status }) => status)")).toBe(200)
  })

  test('--browser-storage off keeps nothing in storage, and everything works', async () => {
    const house = closing(await openHouse({ browserStorage: 'off', wayOut: false }))
    const { page } = await house.visit()
    await page.goto(house.url)
    await logIn(page, house.key, { remember: true })
    await atWork(page)
    expect(await storedToken(page)).toEqual({ local: null, session: null })
    expect(await page.locator('comfy-auth').count()).toBe(0)
    await page.evaluate('void comfyuiLogout()')
    await page.getByLabel('API key').waitFor()
  })
})
