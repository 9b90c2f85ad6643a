import { existsSync } from 'node:fs'
import { type Browser, type BrowserContext, type BrowserContextOptions, chromium } from 'playwright-core'
import { afterAll } from 'vitest'

const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium'
export const hasChromium = existsSync(CHROMIUM)

/** Nothing beyond this machine is reached, whatever a page asks for. */
const HOSTS = 'MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost'
const LAUNCH = {
  executablePath: CHROMIUM,
  args: [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    `--host-resolver-rules=MAP comfy.test 127.0.0.1, ${HOSTS}`,
  ],
}

let launched: Promise<Browser> | undefined
// Registered first, so that it runs last in each test file.
afterAll(async () => (await launched)?.close())

/** A person of its own in the file's one Chromium: cookies and storage are shared with no other. */
export async function newPerson(options?: BrowserContextOptions): Promise<BrowserContext> {
  launched ??= chromium.launch(LAUNCH)
  return (await launched).newContext(options)
}

/** A Chromium of its own that keeps its profile in `folder`; closing it ends the browser. */
export function startBrowser(folder: string): Promise<BrowserContext> {
  return chromium.launchPersistentContext(folder, LAUNCH)
}
