import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { BrowserContext, BrowserContextOptions, Page } from 'playwright-core'
import { makeKey } from '../../src/keys/format.ts'
import { openLiveKeys } from '../../src/keys/live.ts'
import { createProxy } from '../../src/proxy/proxy.ts'
import { createSim, type Sim, type SimFlags } from '../../src/sim/sim.ts'
import { closing } from '../support/closers.ts'
import { portOf } from '../support/ports.ts'
import { newPerson } from './chromium.ts'

export { hasChromium } from './chromium.ts'

/** A page that does what ComfyUI's does, and shows it: a socket that reconnects for ever, and requests of each kind. */
export const INDEX = `<!doctype html><html><head><title>ComfyUI</title></head><body><h1>graph</h1><script>
  window.closes = []
  const connect = () => {
    const socket = new WebSocket(location.origin.replace('http', 'ws') + location.pathname.replace(/[^/]*$/, '') + 'ws?clientId=' + (sessionStorage.clientId ??= String(Math.random()).slice(2)))
    socket.onopen = () => { document.body.dataset.socket = 'open' }
    socket.onclose = ({ code }) => { closes.push(code); document.body.dataset.socket = 'closed'; setTimeout(connect, 300) }
  }
  connect()
</script></body></html>`

export interface House {
  readonly url: string
  readonly key: string
  /** Of somebody else. */
  readonly otherKey: string
  readonly sim: Sim
  /** A page of another site, with these links: `[id, address]`. */
  foreignPage(links: Readonly<Record<string, string>>): string
  /** A browser of its own: cookies and storage are shared with no other. */
  person(options?: BrowserContextOptions): Promise<BrowserContext>
  /** One that is there for this test, and its first page. */
  visit(options?: BrowserContextOptions): Promise<{ person: BrowserContext; page: Page }>
  close(): Promise<void>
}

export interface HouseOptions {
  readonly browserStorage?: 'on' | 'off'
  readonly wayOut?: boolean
  readonly basePath?: string
  readonly port?: number
  readonly publicUrl?: string
  readonly allowHosts?: readonly string[]
  readonly trustedProxies?: readonly string[]
  readonly comfyUser?: 'strip' | 'pass'
  readonly simFlags?: SimFlags
  /** Where ComfyUI will be; a simulated one is started otherwise. */
  readonly upstream?: string
}

export async function openHouse(options: HouseOptions = {}): Promise<House> {
  const home = mkdtempSync(join(tmpdir(), 'browser-'))
  const key = makeKey()
  const otherKey = makeKey()
  const sim = await createSim({ indexHtml: INDEX, ...(options.simFlags && { flags: options.simFlags }) })
  const keys = await openLiveKeys({ keyring: undefined, keyFiles: [], bareKeys: [key, otherKey] }, { watch: false })
  const proxy = await createProxy({
    upstream: options.upstream ?? sim.url,
    listen: '127.0.0.1',
    port: options.port ?? 0,
    keys,
    serveDb: join(home, 'serve.db'),
    browserStorage: options.browserStorage ?? 'on',
    wayOut: options.wayOut ?? true,
    drainMs: 0,
    basePath: options.basePath,
    publicUrl: options.publicUrl,
    allowHosts: options.allowHosts ?? [],
    trustedProxies: options.trustedProxies ?? [],
    comfyUser: options.comfyUser ?? 'strip',
  })
  const foreign = createServer((request, response) => {
    const links = new URLSearchParams(new URL(request.url ?? '/', 'http://x').search)
    response.setHeader('Content-Type', 'text/html')
    response.end(
      [...links].map(([id, href]) => `<a id="${id}" href="${href.replaceAll('&', '&amp;')}">${id}</a>`).join(),
    )
  })
  const foreignPort = await portOf(foreign)
  return {
    url: proxy.url,
    key,
    otherKey,
    sim,
    foreignPage: (links) => `http://localhost:${foreignPort}/?${new URLSearchParams(links)}`,
    person: newPerson,
    async visit(options) {
      const person = closing(await newPerson(options))
      return { person, page: await person.newPage() }
    },
    async close() {
      foreign.close()
      await proxy.close()
      keys.close()
      await sim.close()
      rmSync(home, { recursive: true, force: true })
    },
  }
}

export async function logIn(page: Page, key: string, { remember = false } = {}): Promise<void> {
  await page.getByLabel('API key').fill(key)
  if (remember) await page.getByLabel('Remember me').check()
  await page.getByRole('button', { name: 'Log in' }).click()
}

/** ComfyUI's page is there, with its socket. */
export async function atWork(page: Page): Promise<void> {
  await page.locator('body[data-socket=open]').waitFor()
}

export function storedToken(page: Page): Promise<{ local: string | null; session: string | null }> {
  return page.evaluate(`({
    local: localStorage.getItem('comfyui_api_key'),
    session: sessionStorage.getItem('comfyui_api_key'),
  })`)
}
