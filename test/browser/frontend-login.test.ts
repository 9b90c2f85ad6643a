import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { BrowserContext } from 'playwright-core'
import { afterAll, beforeAll, describe, test } from 'vitest'
import { createSim, type Sim } from '../../src/sim/sim.ts'
import { type Door, openDoor } from '../support/door.ts'
import { freePort } from '../support/ports.ts'
import { newPerson, startBrowser } from './chromium.ts'
import {
  atGraph,
  atLogin,
  DESKTOP,
  hasFrontend,
  makePicture,
  VERSIONS,
  type Watched,
  watch,
  webRootOf,
} from './real.ts'
import { logIn, storedToken } from './support.ts'

/** What was loaded, whatever the page has made of its address since. */
const LOADED = "performance.getEntriesByType('navigation')[0].name"

describe.concurrent.each(VERSIONS)('coming to the frontend %s', (version) => {
  describe.skipIf(!hasFrontend(version))('in Chromium', { timeout: 120_000, concurrent: false }, () => {
    let folder: string
    let port: number
    let door: Door
    let url: string
    let sim: Sim | undefined
    let person: BrowserContext
    let watched: Watched
    // The one behind openDoor stays unused: this one starts when the tests say so, and again.
    const startComfyui = async () => {
      sim = await createSim({ port, stepMs: 10, webRoot: webRootOf(version), dataDir: join(folder, 'comfyui') })
    }

    beforeAll(async () => {
      folder = mkdtempSync(join(tmpdir(), 'coming-'))
      port = await freePort()
      door = await openDoor({ upstream: `http://127.0.0.1:${port}` })
      url = `${door.proxy.url}/`
      person = await newPerson(DESKTOP)
      watched = await watch(person)
    })
    afterAll(async () => {
      await person?.close()
      await door?.close()
      await sim?.close()
      if (folder) rmSync(folder, { recursive: true, force: true })
    })

    test('ten wrong keys have to wait, a right one does not; while ComfyUI starts the page waits, and then comes by itself', async ({
      expect,
    }) => {
      const { page } = watched
      await page.goto(`${url}?from=a%20deep%20link`)
      const alert = page.getByRole('alert').filter({ visible: true })
      for (let i = 0; i < 11; i++) {
        const [answer] = await Promise.all([
          page.waitForResponse((response) => response.request().method() === 'POST'),
          logIn(page, `guess ${version} ${i}`),
        ])
        expect(answer.status()).toBe(i < 10 ? 401 : 429)
      }
      await alert.filter({ hasText: /Too many wrong keys/ }).waitFor()
      await page.getByText(/Wait \d+ s/).waitFor()
      await logIn(page, door.keys.admin)
      await page.getByRole('heading', { name: 'ComfyUI is starting' }).waitFor()
      await startComfyui()
      await atGraph(page)
      expect(await page.evaluate(LOADED)).toBe(`${url}?from=a%20deep%20link`)
    })

    test('when ComfyUI restarts the open page goes on by itself', async ({ expect }) => {
      const { page, sockets, frames } = watched
      await makePicture(page)
      await page.evaluate('window.sameDocument = true')
      const broken = sockets.at(-1)!
      await Promise.all([broken.waitForEvent('close'), sim?.close()])
      const next = page.waitForEvent('websocket', (socket) =>
        socket.waitForEvent('framereceived').then(
          () => true,
          () => false,
        ),
      )
      await startComfyui()
      await next
      frames.length = 0
      await makePicture(page)
      expect(frames).toContain(4)
      expect(await page.evaluate('window.sameDocument')).toBe(true)
    })

    test('a typed key becomes a session; a wrong one leaves the address; a link from a chat finds the session', async ({
      expect,
    }) => {
      const chat = createServer((_, response) => {
        response.setHeader('Content-Type', 'text/html').end(`<a href="${url}?from=chat">look</a>`)
      })
      await new Promise<void>((resolve) => chat.listen(0, '127.0.0.1', resolve))
      const stranger = await newPerson(DESKTOP)
      try {
        const { page, errors } = await watch(stranger)
        await page.goto(`${url}?api_key=${door.keys.user}&from=typed`)
        await atGraph(page)
        expect(await page.evaluate(LOADED)).toBe(`${url}?from=typed`)
        expect((await storedToken(page)).session).toMatch(/^comfyt_/)
        const before = await page.evaluate('history.state')
        const known = new Set(errors)

        await page.goto(`${url}?from=typed&api_key=not-the-key`)
        await atGraph(page)
        expect(page.url()).not.toContain('key')
        // The router of the page keeps its own state, and says no more than before.
        expect(await page.evaluate('history.state')).toEqual({ ...Object(before), position: expect.any(Number) })
        expect([...errors].filter((error) => !known.has(error))).toEqual([])

        const visited = await page.evaluate<string[]>('navigation.entries().map(({ url }) => url)')
        expect(visited).toEqual([`${url}?from=typed`, `${url}?from=typed`])

        await page.goto(`http://localhost:${(chat.address() as AddressInfo).port}`)
        await page.getByRole('link').click()
        await atGraph(page)
        expect(await page.evaluate(LOADED)).toBe(`${url}?from=chat`)
      } finally {
        chat.close()
        await stranger.close()
      }
    })

    test('without Remember me the next browser asks again, with it the page comes at once', async ({ expect }) => {
      const profile = join(folder, 'profile')
      for (const remember of [false, true]) {
        const before = await startBrowser(profile)
        const page = await before.newPage()
        await page.goto(url)
        await logIn(page, door.keys.user, { remember })
        await page.getByRole('button', { name: 'Log out' }).waitFor() // in ComfyUI's page
        const { local, session } = await storedToken(page)
        expect([local !== null, session !== null]).toEqual([remember, !remember])
        await before.close()
        const after = await startBrowser(profile)
        const again = await after.newPage()
        await again.goto(url)
        if (remember) await atGraph(again)
        else await atLogin(again)
        await after.close()
      }
    })
  })
})
