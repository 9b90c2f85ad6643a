import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createSim } from '../../src/sim/sim.ts'
import { closing } from '../support/closers.ts'
import { freePort } from '../support/ports.ts'
import { startBrowser } from './chromium.ts'
import { atWork, type House, hasChromium, logIn, openHouse, storedToken } from './support.ts'

describe.skipIf(!hasChromium)('in Chromium', () => {
  let house: House
  beforeAll(async () => {
    house = await openHouse()
  })
  afterAll(() => house?.close())

  test('a deep link shows the login in place and leads back to itself, fragment and all', async () => {
    const { page } = await house.visit()
    const answer = await page.goto(`${house.url}/?workflow=a%20b#node-7`)
    expect(answer?.status()).toBe(401)
    await logIn(page, 'not-the-key')
    expect(await page.getByRole('alert').textContent()).toMatch(/^This key was not accepted/)
    expect(await page.evaluate('document.activeElement.id')).toBe('api_key')
    await logIn(page, house.key)
    await atWork(page)
    expect(page.url()).toBe(`${house.url}/?workflow=a%20b#node-7`)
    await page.reload()
    await atWork(page)
    expect(await page.evaluate("fetch('/api/queue').then(({ status }) => status)")).toBe(200)
  })

  test('no message of the console but the refusals themselves, and the CSP stops nothing', async () => {
    const { page } = await house.visit()
    const messages: string[] = []
    page.on('console', (message) => messages.push(message.text()))
    page.on('pageerror', (error) => messages.push(error.message))
    await page.goto(house.url)
    await logIn(page, house.key)
    await atWork(page)
    expect(messages.filter((text) => !text.includes('the server responded with a status of 401'))).toEqual([])
  })

  test('the key can be shown and hidden, and everything is reached by keyboard in order', async () => {
    const { page } = await house.visit()
    await page.goto(house.url)
    const field = page.getByLabel('API key')
    await field.fill('abc')
    await page.getByRole('button', { name: 'Show' }).click()
    expect(await field.getAttribute('type')).toBe('text')
    await page.getByRole('button', { name: 'Hide' }).click()
    expect(await field.getAttribute('type')).toBe('password')
    await field.focus()
    const order: unknown[] = []
    for (let i = 0; i < 4; i++) {
      order.push(await page.evaluate('document.activeElement.id || document.activeElement.className'))
      await page.keyboard.press('Tab')
    }
    expect(order).toEqual(['api_key', 'show', 'remember', 'go'])
  })

  test('a server that is away is told of, and the key that was typed stays in hand', async () => {
    const { person, page } = await house.visit()
    await page.goto(house.url)
    await person.setOffline(true)
    await page.getByLabel('API key').fill(house.key)
    await page.getByRole('button', { name: 'Log in' }).click()
    await page.getByText('The server cannot be reached.').waitFor()
    expect(await page.evaluate('document.activeElement.id')).toBe('api_key')
    await person.setOffline(false)
    await page.keyboard.press('Enter')
    await atWork(page)
  })

  test('without Remember me cookie and token end with the browser, with it they stay', async () => {
    for (const remember of [false, true]) {
      const { person, page } = await house.visit()
      await page.goto(house.url)
      await logIn(page, house.key, { remember })
      await atWork(page)
      const { local, session } = await storedToken(page)
      expect([local !== null, session !== null]).toEqual([remember, !remember])
      expect(local ?? session).toMatch(/^comfyt_\w{43}$/)
      const [cookie] = await person.cookies()
      expect(cookie).toMatchObject({ httpOnly: true, sameSite: 'Strict', path: '/' })
      expect(cookie!.expires === -1).toBe(!remember)
    }
  })

  test('without JavaScript the form logs in, says what is wrong, and returns', async () => {
    const { page } = await house.visit({ javaScriptEnabled: false })
    await page.goto(`${house.url}/?x=1`)
    await logIn(page, 'not-the-key')
    expect(await page.getByRole('alert').textContent()).toMatch(/^This key was not accepted/)
    await logIn(page, house.key)
    await page.waitForURL(`${house.url}/?x=1`)
    expect(await page.getByRole('heading').textContent()).toBe('graph')
  })

  test('a link from another site finds the session, although its cookie is Strict', async () => {
    const { page } = await house.visit()
    await page.goto(house.url)
    await logIn(page, house.key)
    await atWork(page)
    await page.goto(house.foreignPage({ link: `${house.url}/?from=chat` }))
    await page.click('#link')
    await atWork(page)
    expect(page.url()).toBe(`${house.url}/?from=chat`)
  })

  test('a key in a typed address becomes a session and leaves the address', async () => {
    const { page } = await house.visit()
    await page.goto(`${house.url}/?api_key=${house.key}&x=1`)
    await atWork(page)
    expect(page.url()).toBe(`${house.url}/?x=1`)
    expect((await storedToken(page)).session).toMatch(/^comfyt_/)
    await page.goBack()
    expect(page.url()).not.toContain(house.key)
  })

  test('a key in a link from another site logs in only who says so', async () => {
    const { person, page } = await house.visit()
    await page.goto(house.foreignPage({ link: `${house.url}/?api_key=${house.key}` }))
    await page.click('#link')
    await page.getByText('brought a key along').waitFor()
    expect(await person.cookies()).toEqual([])
    await page.getByRole('button', { name: 'Log in' }).click()
    await atWork(page)
  })

  test('a wrong key leaves the address and the history, before the login and beside a session', async () => {
    const { page } = await house.visit()
    await page.goto(`${house.url}/?x=a%20b&api_key=not-the-key&y#node-7`)
    await page.getByLabel('API key').waitFor()
    expect(page.url()).toBe(`${house.url}/?x=a%20b&y#node-7`)
    await logIn(page, house.key)
    await atWork(page)
    expect(page.url()).toBe(`${house.url}/?x=a%20b&y#node-7`)
    await page.goto(`${house.url}/?x=a%20b&%74oken=not-the-key#node-8`)
    await atWork(page)
    expect(page.url()).toBe(`${house.url}/?x=a%20b#node-8`)
    await page.goto(`${house.url}/?api_key=${house.key}&x=1&api_key=${house.key}`)
    await page.getByText('More than one key').waitFor()
    expect(page.url()).toBe(`${house.url}/?x=1`)
    await page.goto(`${house.url}/auth_login.html?api_key=not-the-key&notice=logged-out`)
    await page.getByLabel('API key').waitFor()
    expect(page.url()).toBe(`${house.url}/auth_login.html?notice=logged-out`)
  })

  test('a key typed beside a session of another key takes its place once that is said, and leaves the address', async () => {
    const { person, page: before } = await house.visit()
    await before.goto(`${house.url}/?api_key=${house.otherKey}`)
    await atWork(before)
    const [old] = await person.cookies()
    const page = await person.newPage() // its clientId is not the other key's
    await page.goto(`${house.url}/?api_key=${house.key}&x=1`)
    await page.getByText('brought a key along').waitFor()
    expect(page.url()).not.toContain(house.key)
    expect(await person.cookies()).toEqual([old])
    await page.getByRole('button', { name: 'Log in' }).click()
    await atWork(page)
    expect(page.url()).toBe(`${house.url}/?x=1`)
    const [fresh] = await person.cookies()
    expect(fresh!.value).not.toBe(old!.value)
    await page.goto(house.foreignPage({ link: `${house.url}/?api_key=${house.otherKey}` }))
    await page.click('#link')
    await page.getByText('brought a key along').waitFor()
    expect((await person.cookies())[0]!.value).toBe(fresh!.value)
  })

  test.each([
    [844, 390],
    [640, 320],
  ])('on a phone held wide (%i x %i) the page is laid out as wide as the phone', async (width, height) => {
    const { page } = await house.visit({ viewport: { width, height }, isMobile: true, hasTouch: true })
    await page.goto(house.url)
    expect(await page.evaluate('[innerWidth, document.documentElement.scrollWidth, visualViewport.scale]')).toEqual([
      width,
      width,
      1,
    ])
  })

  test('on a phone nothing is cut off, and the field is large enough to be tapped', async () => {
    const { page } = await house.visit({ viewport: { width: 320, height: 568 }, isMobile: true, hasTouch: true })
    await page.goto(house.url)
    expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true)
    const card = await page.locator('.node').boundingBox()
    expect(card).toMatchObject({ x: 20, width: 280 })
    for (const name of ['Log in', 'Show']) {
      const box = await page.getByRole('button', { name }).boundingBox()
      expect(Math.min(box!.width, box!.height)).toBeGreaterThanOrEqual(24)
    }
  })

  test('Remember me outlives the browser, and without it the next browser asks again', async () => {
    for (const remember of [true, false]) {
      const folder = mkdtempSync(join(tmpdir(), 'profile-'))
      const before = await startBrowser(folder)
      const page = await before.newPage()
      await page.goto(house.url)
      await logIn(page, house.key, { remember })
      await atWork(page)
      await before.close()
      const after = await startBrowser(folder)
      const again = await after.newPage()
      await again.goto(house.url)
      if (remember) await atWork(again)
      else await again.getByLabel('API key').waitFor()
      expect((await storedToken(again)).local !== null).toBe(remember)
      await after.close()
      rmSync(folder, { recursive: true, force: true })
    }
  })

  // Last, as it makes this address wait.
  test('ten wrong keys: the page says how long to wait, and a right key is let in all the same', async () => {
    const { person, page } = await house.visit()
    await page.goto(house.url)
    for (let i = 0; i < 11; i++) {
      await logIn(page, `guess ${i}`)
      await expect.poll(() => page.locator('.go').textContent()).toMatch(/^(Log in|Wait)/)
      await expect.poll(() => page.getByRole('alert').textContent()).not.toBe('')
    }
    expect(await page.getByRole('alert').textContent()).toMatch(/^Too many wrong keys .* Try again in \d+ seconds\.$/)
    expect(await page.locator('.go').isDisabled()).toBe(true)
    // A page that is opened meanwhile says so too, counts down, and keeps nobody from trying.
    const fresh = await person.newPage()
    await fresh.goto(`${house.url}/auth_login.html`)
    const wait = fresh.getByText('any other has to wait')
    const left = async () => Number(/wait (\d+) seconds/.exec((await wait.textContent()) ?? '')?.[1])
    const first = await left()
    expect(first).toBeGreaterThan(0)
    await expect.poll(left).toBeLessThan(first)
    expect(await fresh.locator('.go').isEnabled()).toBe(true)
    await logIn(fresh, house.key)
    await Promise.all([atWork(fresh), atWork(page)])
  })

  test('while ComfyUI starts the page waits, and goes on by itself once it is there', async () => {
    const port = await freePort()
    const early = closing(await openHouse({ upstream: `http://127.0.0.1:${port}` }))
    const { page } = await early.visit()
    await page.goto(`${early.url}/?x=1`)
    await logIn(page, early.key)
    await page.getByRole('heading', { name: 'ComfyUI is starting' }).waitFor()
    const sim = await createSim({ port, indexHtml: '<h1>graph</h1>' })
    await page.getByRole('heading', { name: 'graph' }).waitFor()
    expect(page.url()).toBe(`${early.url}/?x=1`)
    await sim.close()
  })
})
