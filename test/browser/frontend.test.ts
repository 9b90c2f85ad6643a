import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { BrowserContext } from 'playwright-core'
import { afterAll, beforeAll, describe, test } from 'vitest'
import { type Door, openDoor } from '../support/door.ts'
import { newPerson } from './chromium.ts'
import {
  atGraph,
  atLogin,
  command,
  DESKTOP,
  enter,
  hasFrontend,
  isPrompt,
  makePicture,
  NODES,
  nodes,
  press,
  seePicture,
  shot,
  VERSIONS,
  type Watched,
  watch,
  webRootOf,
  withCustomNode,
} from './real.ts'
import { logIn } from './support.ts'

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

/** What of the page's own lies where our way out does, and could be clicked. */
const CONTROLS_BELOW = `(() => {
  const host = document.querySelector('comfy-auth')
  const { left, right, top, bottom } = host.getBoundingClientRect()
  host.style.display = 'none'
  const below = new Set()
  for (let x = left + 1; x < right; x += 3) {
    for (let y = top + 1; y < bottom; y += 3) {
      const control = document.elementFromPoint(x, y)?.closest('button, a, input, [role=tab], [draggable=true]')
      if (control) below.add(control.className)
    }
  }
  host.style.display = ''
  return [...below]
})()`

// Both at once: they wait for other things than the processor most of the time.
describe.concurrent.each(VERSIONS)('the frontend %s', (version) => {
  describe.skipIf(!hasFrontend(version))('in Chromium', { timeout: 120_000, concurrent: false }, () => {
    let node: ReturnType<typeof withCustomNode>
    let door: Door
    let url: string
    let person: BrowserContext
    let first: Watched

    beforeAll(async () => {
      node = withCustomNode(version)
      door = await openDoor({}, { stepMs: 10, webRoot: node.webRoot })
      url = `${door.proxy.url}/`
      person = await newPerson(DESKTOP)
      first = await watch(person)
    })
    afterAll(async () => {
      await person?.close()
      await door?.close()
      node?.remove()
    })

    test('runs a workflow with previews and its picture, and prints no error that it does not print without the lock', async ({
      expect,
    }) => {
      const work = async (watched: Watched, come: () => Promise<unknown>) => {
        const { page } = watched
        await come()
        await atGraph(page)
        // What a custom node's script found: modules, style, picture, worker, list and server.
        await page.locator('body[data-probe="imported 17 styled imported-in-a-worker listed 200"]').waitFor()
        await makePicture(page)
        await seePicture(page)
        await shot(page, `frontend-${version}`)
        await page.reload()
        await atGraph(page)
        await page.waitForLoadState('networkidle')
        expect(watched.frames).toContain(4)
        expect(await nodes(page)).toBe(NODES)
      }
      const stranger = await newPerson(DESKTOP)
      const direct = await watch(stranger)
      await work(direct, () => direct.page.goto(door.sim.url))
      await work(first, () => enter(first, door.keys.admin, url))
      await stranger.close()
      expect([...first.errors].filter((error) => !direct.errors.has(error))).toEqual([])
    })

    test('the way out lies on no control of the page, however many workflows are open, and is accessible', async ({
      expect,
    }) => {
      const { page } = first
      expect(await page.evaluate(CONTROLS_BELOW)).toEqual([])
      for (let i = 0; i < 12; i++) await command(page, 'Comfy.NewBlankWorkflow')
      await page.getByText('(12)').first().waitFor({ state: 'attached' })
      expect(await page.evaluate(CONTROLS_BELOW)).toEqual([])
      await page.evaluate(AXE)
      expect(
        await page.evaluate("axe.run('comfy-auth').then(({ violations }) => violations.map(({ id }) => id))"),
      ).toEqual([])
    })

    test('a second tab works, and logging out there acts in the first, whose drafts stay', async ({ expect }) => {
      const second = await watch(person)
      await second.page.goto(url)
      await atGraph(second.page)
      await makePicture(second.page)
      await second.page.getByRole('button', { name: 'Log out' }).click()
      await Promise.all([atLogin(first.page), atLogin(second.page)])
      expect(await person.cookies()).toEqual([])
      await second.page.close()
      await enter(first, door.keys.user, url)
      await first.page.getByText('mountains').first().waitFor({ state: 'attached' })
    })

    test('a viewer’s page shows everything, and says kindly that it may not run', async ({ expect }) => {
      const viewer = await newPerson(DESKTOP)
      const watched = await watch(viewer)
      const { page } = watched
      const loads: string[] = []
      await enter(watched, door.keys.viewer, url)
      page.on('framenavigated', (frame) => loads.push(frame.url()))
      await page.waitForLoadState('networkidle')
      door.sim.clearRequests()
      const [refused] = await Promise.all([page.waitForResponse(isPrompt), press(page, 'mine')])
      expect(refused.status()).toBe(403)
      await page.getByText('It needs the role user; yours is viewer.').first().waitFor()
      await shot(page, `viewer-${version}`)
      expect(door.sim.requests.filter(({ method }) => method !== 'GET')).toEqual([])
      // Still there, with its one socket: a 403 sends nobody to the login.
      expect(loads).toEqual([])
      expect(watched.sockets).toHaveLength(1)
      expect(watched.sockets[0]!.isClosed()).toBe(false)
      await viewer.close()
    })

    test('on a phone it comes up behind the login too, and a tap logs out', async ({ expect }) => {
      const phone = await newPerson({ viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true })
      const watched = await watch(phone)
      await enter(watched, door.keys.admin, url)
      expect(await watched.page.evaluate(CONTROLS_BELOW)).toEqual([])
      await shot(watched.page, `phone-${version}`)
      await watched.page.getByRole('button', { name: 'Log out' }).tap()
      await atLogin(watched.page)
      expect(await phone.cookies()).toEqual([])
      await phone.close()
    })

    test('before --multi-user, with --comfy-user pass, a user is made and chosen, and works', async ({ expect }) => {
      const many = await openDoor(
        { comfyUser: 'pass' },
        { stepMs: 10, webRoot: webRootOf(version), flags: { multiUser: true } },
      )
      const stranger = await newPerson(DESKTOP)
      try {
        const { page } = await watch(stranger)
        await page.goto(many.proxy.url)
        await logIn(page, many.keys.admin)
        await page.waitForURL(`${many.proxy.url}/user-select`)
        await page.getByPlaceholder('Enter a username').fill('ann')
        await page.getByRole('button', { name: 'Next' }).click()
        await atGraph(page)
        await makePicture(page)
        const users = many.sim.requests
          .filter(({ target }) => target.startsWith('/api/prompt'))
          .map(({ headers }) => headers[headers.findIndex((name) => name.toLowerCase() === 'comfy-user') + 1])
        expect(users.at(-1)).toMatch(/^ann_/)
        expect(page.url()).toBe(`${many.proxy.url}/`)
      } finally {
        await stranger.close()
        await many.close()
      }
    })
  })
})
