import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { BrowserContext, Page, Response } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { revokeKey } from '../../src/keys/lifecycle.ts'
import { type Door, openDoor } from '../support/door.ts'
import { hasChromium, newPerson } from './chromium.ts'
import { logIn } from './support.ts'

// The pages that people use: comfyui-frontend-package, unpacked to COMFYUI_FRONTENDS/VERSION.
const FRONTENDS = process.env.COMFYUI_FRONTENDS ?? ''
const webRootOf = (version: string) => join(FRONTENDS, version, 'comfyui_frontend_package', 'static')
const SHOTS = process.env.COMFY_AUTH_SHOTS

const WORKFLOW = JSON.parse(
  readFileSync(new URL('../../examples/text-to-image.json', import.meta.url), 'utf8'),
) as Record<string, { inputs: Record<string, unknown> }>

/** Each picture is another one: ComfyUI answers what it knows from its cache, without steps and previews. */
let seed = 1_000
function workflow(): object {
  return { ...WORKFLOW, 3: { ...WORKFLOW[3], inputs: { ...WORKFLOW[3]!.inputs, seed: ++seed } } }
}

interface Watched {
  readonly page: Page
  /** What its console says of errors, without origins. */
  readonly errors: Set<string>
  /** Types of the binary frames that arrived. */
  readonly frames: number[]
}

async function watch(person: BrowserContext): Promise<Watched> {
  const page = await person.newPage()
  const errors = new Set<string>()
  const frames: number[] = []
  const note = (text: string) => errors.add(text.replaceAll(/http:\/\/127\.0\.0\.1:\d+/g, ''))
  page.on('console', (message) => {
    if (message.type() === 'error') note(`${message.text()} ${message.location().url}`)
  })
  page.on('pageerror', (error) => note(error.message))
  page.on('websocket', (socket) =>
    socket.on('framereceived', ({ payload }) => {
      if (typeof payload !== 'string') frames.push(payload.readUInt32BE(0))
    }),
  )
  return { page, errors, frames }
}

const run = (page: Page) => page.getByTestId('queue-button')
/** ComfyUI's editor, as its page offers it to scripts. */
interface Editor {
  readonly app?: {
    readonly graph?: { readonly _nodes: readonly unknown[] }
    loadApiJson(prompt: object | undefined, name: string): void
  }
}
// Functions, not strings: the login page's policy lets no string become a script.
const nodes = (page: Page) => page.evaluate(() => (globalThis as unknown as Editor).app?.graph?._nodes.length)

/** The graph is on the canvas, its Run button is there, and the page has loaded all that it wanted. */
async function atGraph(page: Page): Promise<void> {
  await page.waitForFunction(() => (globalThis as unknown as Editor).app?.graph !== undefined)
  await page.locator('canvas#graph-canvas').waitFor()
  await run(page).waitFor({ state: 'attached' })
  await page.waitForLoadState('networkidle')
}

/** Loads a workflow as a dropped file would be, and presses Run. */
async function press(page: Page, name: string): Promise<void> {
  await page.keyboard.press('Escape') // whatever welcomes a newcomer
  await page.evaluate(([prompt, title]) => (globalThis as unknown as Editor).app?.loadApiJson(prompt, title), [
    workflow(),
    name,
  ] as const)
  await run(page).click({ timeout: 5_000 })
}

const isPrompt = (response: Response) =>
  response.request().method() === 'POST' && response.url().endsWith('/api/prompt')

/**
 * And waits for the picture that the page then shows. A page that is still busy with its own first workflow puts that in
 * the place of ours: then it is pressed again, as a person would.
 */
async function makePicture(page: Page): Promise<void> {
  const picture = page.waitForResponse((response) => new URL(response.url()).pathname.endsWith('/api/view'))
  picture.catch(() => {}) // told of below, where it is awaited
  const accepted = async () => {
    const [answer] = await Promise.all([page.waitForResponse(isPrompt, { timeout: 5_000 }), press(page, 'mountains')])
    return answer.ok()
  }
  for (let tries = 0; tries < 3 && !(await accepted().catch(() => false)); tries++) {}
  expect((await picture).status()).toBe(200)
  const shown = page.locator('img[src*="/api/view"]').first()
  await expect.poll(() => shown.evaluate((image) => 'naturalWidth' in image && image.naturalWidth)).toBeGreaterThan(0)
}

async function shot(page: Page, name: string): Promise<void> {
  if (SHOTS) await page.screenshot({ path: join(SHOTS, `${name}.png`) })
}

describe.each(['1.49.6', '1.58.1'])('the frontend %s', (version) => {
  describe.skipIf(!hasChromium || !existsSync(webRootOf(version)))('in Chromium', { timeout: 90_000 }, () => {
    let door: Door
    let url: string
    let person: BrowserContext
    let first: Watched

    beforeAll(async () => {
      door = await openDoor({}, { stepMs: 10, webRoot: webRootOf(version) })
      url = `${door.proxy.url}/`
      person = await newPerson({ viewport: { width: 1400, height: 900 } })
      first = await watch(person)
    })
    afterAll(async () => {
      await person?.close()
      await door?.close()
    })

    const atLogin = ({ page }: Watched) => page.getByLabel('API key').waitFor()

    /** Logs in on the page of its own, so that its answers are not taken for the frontend's. */
    async function enter(watched: Watched, key: string, at = url): Promise<void> {
      await watched.page.goto(`${at}auth_login.html`)
      watched.errors.clear()
      await logIn(watched.page, key)
      await watched.page.waitForURL(at)
      await atGraph(watched.page)
      // The login page's own question whether a session lives.
      watched.errors.delete('Failed to load resource: the server responded with a status of 401 (Unauthorized) /')
    }

    test('runs a workflow with previews and its picture, and prints no error that it does not print without the lock', async () => {
      const stranger = await newPerson({ viewport: { width: 1400, height: 900 } })
      const direct = await watch(stranger)
      await direct.page.goto(door.sim.url)
      await atGraph(direct.page)
      await makePicture(direct.page)
      await stranger.close()

      await enter(first, door.keys.admin)
      await makePicture(first.page)
      expect(first.frames.filter((type) => type === 4).length).toBeGreaterThan(0)
      expect(await nodes(first.page)).toBe(7)
      expect([...first.errors].filter((error) => !direct.errors.has(error))).toEqual([])
      await shot(first.page, `frontend-${version}`)
    })

    test('a reload keeps the session, and logging out in one tab acts in the other and keeps the drafts', async () => {
      const second = await watch(person)
      await Promise.all([first.page.reload(), second.page.goto(url)])
      await Promise.all([atGraph(first.page), atGraph(second.page)])
      await expect.poll(() => nodes(first.page)).toBe(7)
      await second.page.getByRole('button', { name: 'Log out' }).click()
      await Promise.all([atLogin(first), atLogin(second)])
      expect(await person.cookies()).toEqual([])
      await second.page.close()
      await enter(first, door.keys.user)
      await expect.poll(() => nodes(first.page)).toBe(7)
    })

    test('a revoked key ends it while the page is open: the login comes, once', async () => {
      const logins: string[] = []
      first.page.on('framenavigated', (frame) => frame.url().includes('auth_login') && logins.push(frame.url()))
      await revokeKey(door.keyring, 'the user')
      await atLogin(first)
      await logIn(first.page, door.keys.user)
      await first.page.getByText('This key was not accepted').waitFor()
      expect(logins).toHaveLength(1)
    })

    test('a viewer’s page works, and says kindly that it may not run', async () => {
      await enter(first, door.keys.viewer)
      const [refused] = await Promise.all([first.page.waitForResponse(isPrompt), press(first.page, 'mine')])
      expect(refused.status()).toBe(403)
      await first.page.getByText('It needs the role user; yours is viewer.').first().waitFor()
      await shot(first.page, `viewer-${version}`)
      expect(first.page.url()).toBe(url)
    })

    test('below --base-path it runs a workflow too, and asks for nothing outside', async () => {
      const below = await openDoor({ basePath: '/comfy' }, { stepMs: 10, webRoot: webRootOf(version) })
      const stranger = await newPerson({ viewport: { width: 1400, height: 900 } })
      try {
        const watched = await watch(stranger)
        const outside: string[] = []
        watched.page.on('request', (request) => {
          const { protocol, origin, pathname } = new URL(request.url())
          // The frontend itself asks for the frames of its tab icon by an absolute path.
          if (protocol !== 'http:' || pathname.startsWith('/assets/images/favicon_progress')) return
          if (below.proxy.url.startsWith(origin) && !pathname.startsWith('/comfy/')) outside.push(pathname)
        })
        await enter(watched, below.keys.admin, `${below.proxy.url}/`)
        await makePicture(watched.page)
        expect(watched.frames).toContain(4)
        expect(outside).toEqual([])
      } finally {
        await stranger.close()
        await below.close()
      }
    })

    test('before --multi-user, with --comfy-user pass, a user is made and chosen, and works', async () => {
      const many = await openDoor(
        { comfyUser: 'pass' },
        { stepMs: 10, webRoot: webRootOf(version), flags: { multiUser: true } },
      )
      const stranger = await newPerson({ viewport: { width: 1400, height: 900 } })
      try {
        const { page } = await watch(stranger)
        await page.goto(`${many.proxy.url}/auth_login.html`)
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
        expect(page.url()).not.toContain('auth_login')
      } finally {
        await stranger.close()
        await many.close()
      }
    })

    test('on a phone it comes up behind the login too', async () => {
      const phone = await newPerson({ viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true })
      const watched = await watch(phone)
      await enter(watched, door.keys.admin)
      await shot(watched.page, `phone-${version}`)
      await phone.close()
    })
  })
})
