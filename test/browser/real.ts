import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { BrowserContext, Page, Response, WebSocket } from 'playwright-core'
import { hasChromium } from './chromium.ts'
import { logIn } from './support.ts'

/** The one that ComfyUI 0.33.0 pins, and the newest. */
export const VERSIONS = ['1.49.6', '1.58.1'] as const
export const NEWEST = '1.58.1'
export const DESKTOP = { viewport: { width: 1400, height: 900 } } as const

// The pages that people use: comfyui-frontend-package, unpacked to COMFYUI_FRONTENDS/VERSION.
const FRONTENDS = process.env.COMFYUI_FRONTENDS ?? ''
const SHOTS = process.env.COMFY_AUTH_SHOTS

export const webRootOf = (version: string) => join(FRONTENDS, version, 'comfyui_frontend_package', 'static')
export const hasFrontend = (version: string) => hasChromium && existsSync(webRootOf(version))

/** The frontend with the scripts of a custom node beside its own, as ComfyUI serves them; `remove` takes it away. */
export function withCustomNode(version: string): { readonly webRoot: string; remove(): void } {
  const webRoot = mkdtempSync(join(tmpdir(), 'frontend-'))
  for (const name of readdirSync(webRootOf(version))) {
    if (name !== 'extensions') symlinkSync(join(webRootOf(version), name), join(webRoot, name))
  }
  cpSync(join(webRootOf(version), 'extensions'), join(webRoot, 'extensions'), { recursive: true })
  cpSync(new URL('../fixtures/custom-node', import.meta.url), join(webRoot, 'extensions', 'probe'), { recursive: true })
  return { webRoot, remove: () => rmSync(webRoot, { recursive: true, force: true }) }
}

export interface Watched {
  readonly page: Page
  /** What its console says of errors, without origins. */
  readonly errors: Set<string>
  /** Types of the binary frames that arrived. */
  readonly frames: number[]
  /** Those that it opened, or tried to. */
  readonly sockets: WebSocket[]
}

export async function watch(person: BrowserContext): Promise<Watched> {
  const page = await person.newPage()
  const errors = new Set<string>()
  const frames: number[] = []
  const sockets: WebSocket[] = []
  const note = (text: string) => errors.add(text.replaceAll(/https?:\/\/[\w.]+:\d+(\/comfy)?/g, ''))
  page.on('console', (message) => {
    if (message.type() === 'error') note(`${message.text()} ${message.location().url}`)
  })
  page.on('pageerror', (error) => note(error.message))
  page.on('websocket', (socket) => {
    sockets.push(socket)
    socket.on('framereceived', ({ payload }) => {
      if (typeof payload !== 'string') frames.push(payload.readUInt32BE(0))
    })
  })
  return { page, errors, frames, sockets }
}

/** ComfyUI's editor, as its page offers it to scripts. */
interface Editor {
  readonly app?: {
    readonly graph?: { readonly _nodes: readonly unknown[] }
    readonly extensionManager: { readonly command: { execute(id: string): Promise<void> } }
    loadApiJson(prompt: object | undefined, name: string): void
  }
}

// Functions, not strings: the login page's policy lets no string become a script.
export const nodes = (page: Page) => page.evaluate(() => (globalThis as unknown as Editor).app?.graph?._nodes.length)

export async function command(page: Page, id: string): Promise<void> {
  await page.evaluate((name) => (globalThis as unknown as Editor).app?.extensionManager.command.execute(name), id)
}

const run = (page: Page) => page.getByTestId('queue-button')

/** The graph is on the canvas, and its Run button is there. */
export async function atGraph(page: Page): Promise<void> {
  await page.waitForFunction(() => (globalThis as unknown as Editor).app?.graph !== undefined)
  await page.locator('canvas#graph-canvas').waitFor()
  await run(page).waitFor({ state: 'attached' })
}

export const atLogin = (page: Page) => page.getByLabel('API key').waitFor()

/** Logs in on the page of its own, so that its answers are not taken for the frontend's. */
export async function enter({ page, errors }: Watched, key: string, url: string): Promise<void> {
  await page.goto(`${url}auth_login.html`)
  errors.clear()
  await logIn(page, key)
  await page.waitForURL(url)
  await atGraph(page)
  // The login page's own question whether a session lives.
  errors.delete('Failed to load resource: the server responded with a status of 401 (Unauthorized) /')
}

const WORKFLOW = JSON.parse(
  readFileSync(new URL('../../examples/text-to-image.json', import.meta.url), 'utf8'),
) as Record<string, { inputs: Record<string, unknown> }>
/** How many nodes it has. */
export const NODES = Object.keys(WORKFLOW).length

/** Each picture is another one: ComfyUI answers what it knows from its cache, without steps and previews. */
let seed = 1_000
const workflow = () => ({ ...WORKFLOW, 3: { ...WORKFLOW[3], inputs: { ...WORKFLOW[3]!.inputs, seed: ++seed } } })

/** Loads a workflow as a dropped file would be, all of it in sight. */
export async function load(page: Page, name: string): Promise<void> {
  await page.keyboard.press('Escape') // whatever welcomes a newcomer
  await page.evaluate(([prompt, title]) => (globalThis as unknown as Editor).app?.loadApiJson(prompt, title), [
    workflow(),
    name,
  ] as const)
  await command(page, 'Comfy.Canvas.FitView')
}

export async function press(page: Page, name: string): Promise<void> {
  await load(page, name)
  await run(page).click({ timeout: 10_000 })
}

/** Writes into the workflow's first text, as a person does: from then on it has changes that are not saved. */
export async function write(page: Page, words: string): Promise<void> {
  await page.locator('textarea').first().click()
  await page.keyboard.type(words)
}

/** What stands in the workflow's texts. */
export const texts = (page: Page) =>
  page.evaluate<string>('app.graph._nodes.flatMap(({ widgets }) => (widgets ?? []).map(({ value }) => value)).join()')

export const isPrompt = (response: Response) =>
  response.request().method() === 'POST' && new URL(response.url()).pathname.endsWith('/api/prompt')

/** The address of the picture that the last node shows, once it is there. */
const SAVED = `(() => {
  const image = app.graph._nodes.find(({ type }) => type === 'SaveImage')?.imgs?.[0]
  return image?.naturalWidth > 0 ? new URL(image.src).searchParams.get('filename') : ''
})()`

/**
 * Runs a workflow, and waits until its last node shows the new picture. A page that is still busy with its own first
 * workflow puts that in the place of ours: then it is pressed again, as a person would.
 */
export async function makePicture(page: Page): Promise<void> {
  const before = await page.evaluate(SAVED)
  const accepted = async () => {
    const [answer] = await Promise.all([page.waitForResponse(isPrompt, { timeout: 10_000 }), press(page, 'mountains')])
    return answer.ok()
  }
  for (let tries = 0; tries < 3 && !(await accepted().catch(() => false)); tries++) {}
  await page.waitForFunction(`![${JSON.stringify(before)}, ''].includes(${SAVED})`)
}

/** The page shows the picture as an image of its own too, in its list of jobs. */
export async function seePicture(page: Page): Promise<void> {
  await page.waitForFunction(
    '[...document.querySelectorAll(\'img[src*="/api/view"]\')].some(({ naturalWidth }) => naturalWidth > 0)',
  )
}

export async function shot(page: Page, name: string): Promise<void> {
  if (SHOTS) await page.screenshot({ path: join(SHOTS, `${name}.png`) })
}
