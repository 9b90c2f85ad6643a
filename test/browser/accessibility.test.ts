import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { freePort } from '../support/ports.ts'
import { atWork, type House, hasChromium, logIn, openHouse } from './support.ts'

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const SHOTS = process.env.COMFY_AUTH_SHOTS

/** What axe-core finds against WCAG 2.2 AA and its own best practices, a line each. */
async function violations(page: Page): Promise<readonly string[]> {
  await page.evaluate(AXE)
  return page.evaluate(`axe.run(document).then(({ violations }) =>
    violations.flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) => id + ': ' + html + ' ' + failureSummary)))`)
}

const GUESS = 'a-wrong-key'

describe.skipIf(!hasChromium)('accessibility, by axe-core', () => {
  let house: House
  let down: House
  beforeAll(async () => {
    house = await openHouse()
    down = await openHouse({ upstream: `http://127.0.0.1:${await freePort()}` })
  })
  afterAll(async () => {
    await house?.close()
    await down?.close()
  })

  const STATES: readonly (readonly [string, (page: Page) => Promise<void>])[] = [
    ['login', async (page) => void (await page.goto(house.url))],
    [
      'error',
      async (page) => {
        await page.goto(house.url)
        await logIn(page, GUESS)
        await page.getByText('This key was not accepted').waitFor()
      },
    ],
    ['replaced', async (page) => void (await page.goto(`${house.url}/auth_login.html?notice=replaced`))],
    ['logged-out', async (page) => void (await page.goto(`${house.url}/auth_login.html?notice=logged-out`))],
    [
      'logout-question',
      async (page) => {
        await page.goto(house.foreignPage({ link: `${house.url}/auth_login.html?logout=true` }))
        await page.click('#link')
        await page.getByRole('heading', { name: 'Log out of ComfyUI?' }).waitFor()
      },
    ],
    [
      'key-arrival',
      async (page) => {
        await page.goto(house.foreignPage({ link: `${house.url}/?api_key=${house.key}` }))
        await page.click('#link')
        await page.getByText('brought a key along').waitFor()
      },
    ],
    [
      'waiting',
      async (page) => {
        await page.goto(down.url)
        await logIn(page, down.key)
        await page.getByRole('heading', { name: 'ComfyUI is starting' }).waitFor()
      },
    ],
    [
      'fault',
      async (page) => {
        await page.goto(house.url)
        await logIn(page, house.key)
        await atWork(page)
        house.sim.setFaults({ http: [{ path: '/', kind: 'garbage' }] })
        await page.goto(`${house.url}/?again`)
        house.sim.setFaults({})
        await page.getByRole('alert').waitFor()
      },
    ],
    [
      'way-out',
      async (page) => {
        await page.goto(house.url)
        await logIn(page, house.key)
        await atWork(page)
        // The stub of ComfyUI's page is nobody's but the test's.
        await page.evaluate(
          "document.documentElement.lang = 'en'; document.querySelector('h1').outerHTML = '<main><h1>graph</h1></main>'",
        )
      },
    ],
    [
      'throttled',
      async (page) => {
        await page.goto(house.url)
        for (let i = 0; i < 11; i++) {
          await page.evaluate(`fetch('/auth_login.html', { method: 'POST', headers: { 'Content-Type': 'application/json' },
            body: JSON.stringify({ api_key: 'guess ${i}' }) })`)
        }
        await logIn(page, GUESS)
        await page.getByRole('alert').getByText('Too many wrong keys').waitFor()
      },
    ],
    ['waits', async (page) => void (await page.goto(`${house.url}/auth_login.html`))],
  ]

  test('it would be seen', async () => {
    const { page } = await house.visit()
    await page.setContent('<html lang="en"><title>x</title><main><h1>x</h1><img src="x"><input></main></html>')
    const found = await violations(page)
    expect(found.map((line) => line.split(':', 1)[0])).toEqual(['image-alt', 'label'])
  })

  test.each(STATES)('%s: no violation, in light and dark, on desktop and phone', async (name, go) => {
    const { page } = await house.visit({ viewport: { width: 1280, height: 800 }, colorScheme: 'light' })
    await go(page)
    for (const colorScheme of ['light', 'dark'] as const) {
      for (const [screen, width, height] of [
        ['desktop', 1280, 800],
        ['phone', 360, 740],
      ] as const) {
        await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
        await page.setViewportSize({ width, height })
        expect.soft(await violations(page)).toEqual([])
        if (SHOTS) await page.screenshot({ path: join(SHOTS, `${name}-${colorScheme}-${screen}.png`) })
      }
    }
  })
})
