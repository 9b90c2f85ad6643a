import type { BrowserContext } from 'playwright-core'
import { afterAll, beforeAll, describe, test } from 'vitest'
import { revokeKey } from '../../src/keys/lifecycle.ts'
import { type Door, openDoor } from '../support/door.ts'
import { newPerson } from './chromium.ts'
import {
  atGraph,
  atLogin,
  DESKTOP,
  enter,
  hasFrontend,
  load,
  makePicture,
  NODES,
  nodes,
  texts,
  VERSIONS,
  watch,
  webRootOf,
  write,
} from './real.ts'
import { logIn } from './support.ts'

/** Tells the codes with which the page's sockets close, over its own wrapper: the protocol of the browser has none. */
const TELL_CLOSES = `(() => {
  const Native = WebSocket
  window.WebSocket = new Proxy(Native, {
    construct(target, args, as) {
      const socket = Reflect.construct(target, args, as)
      socket.addEventListener('close', ({ code }) => heardClose(code))
      return socket
    },
  })
})()`

describe.concurrent.each(VERSIONS)('a session that ends under the frontend %s', (version) => {
  describe.skipIf(!hasFrontend(version))('in Chromium', { timeout: 120_000, concurrent: false }, () => {
    let door: Door
    let url: string
    let person: BrowserContext
    const closes: number[] = []

    beforeAll(async () => {
      door = await openDoor({}, { stepMs: 10, webRoot: webRootOf(version) })
      url = `${door.proxy.url}/`
      person = await newPerson(DESKTOP)
      await person.exposeFunction('heardClose', (code: number) => void closes.push(code))
      await person.addInitScript(TELL_CLOSES)
    })
    afterAll(async () => {
      await person?.close()
      await door?.close()
    })

    /** As `sessions end` does: the server forgets them, and the browser does not know. */
    async function endAllSessions(): Promise<number> {
      const Cookie = (await person.cookies()).map(({ name, value }) => `${name}=${value}`).join('; ')
      const headers = { Cookie, Origin: door.proxy.url, 'Content-Type': 'application/json' }
      return (await fetch(`${url}auth_logout`, { method: 'POST', headers })).status
    }

    test('a revoked key closes the sockets with 4401 and shows the login, once; after the next one the draft is there and runs', async ({
      expect,
    }) => {
      const watched = await watch(person)
      const { page, frames } = watched
      await enter(watched, door.keys.user, url)
      await page.waitForLoadState('networkidle')
      const logins: string[] = []
      page.on('framenavigated', (frame) => frame.url().includes('auth_login') && logins.push(frame.url()))
      await load(page, 'not yet saved')
      await write(page, 'a word of mine ')
      await revokeKey(door.keyring, 'the user')
      await atLogin(page)
      expect(closes).toContain(4401)
      await logIn(page, door.keys.user)
      await page.getByText('This key was not accepted').waitFor()
      expect(logins).toHaveLength(1)
      await logIn(page, door.keys.admin)
      await page.waitForURL(url)
      await atGraph(page)
      await page.getByText('not yet saved').first().waitFor()
      expect(await nodes(page)).toBe(NODES)
      expect(await texts(page)).toContain('a word of mine ')
      await makePicture(page)
      expect(frames).toContain(4)
      await page.close()
    })

    test('who stays on the page locks nobody out by its reconnecting, and goes on there after a login in another tab', async ({
      expect,
    }) => {
      const watched = await watch(person)
      const { page, sockets, frames } = watched
      const stay = await person.request.post(`${url}api/settings/Comfy.Window.UnloadConfirmation`, {
        headers: { Origin: door.proxy.url },
        data: 'true',
      })
      expect(stay.status()).toBe(200)
      await page.goto(url)
      await atGraph(page)
      await page.waitForLoadState('networkidle')
      await page.evaluate('window.sameDocument = true')
      await load(page, 'dear to me')
      await write(page, 'a word of mine ')
      page.on('dialog', (dialog) => dialog.dismiss())
      expect(await endAllSessions()).toBe(200)
      await page.getByText('Your session has ended.').waitFor()
      // It asks for a socket every 300 ms, and is refused more often than the throttle would let anybody guess.
      const already = sockets.length
      while (sockets.length < already + 12) await page.waitForEvent('websocket')
      const guess = await fetch(`${url}queue`, { headers: { 'X-API-Key': 'a guess' } })
      expect(guess.status).toBe(401)
      const [tab] = await Promise.all([person.waitForEvent('page'), page.getByRole('link', { name: 'Log in' }).click()])
      await logIn(tab, door.keys.admin)
      await atGraph(tab)
      await tab.close()
      await page.getByRole('button', { name: 'Log out' }).waitFor()
      frames.length = 0
      await makePicture(page)
      expect(frames).toContain(4)
      expect(await page.evaluate('window.sameDocument')).toBe(true)
    })
  })
})
