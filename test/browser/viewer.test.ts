import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Door, openDoor } from '../support/door.ts'
import { hasChromium, newPerson } from './chromium.ts'

const PICTURE = {
  '1': { class_type: 'EmptyImage', inputs: { width: 32, height: 32, batch_size: 1, color: 255 } },
  '2': { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: 'seen' } },
}

describe.skipIf(!hasChromium)("a viewer's page in Chromium", () => {
  let door: Door
  beforeAll(async () => {
    door = await openDoor({}, { stepMs: 1 })
  })
  afterAll(() => door?.close())

  test('shows the pictures and what goes on, and says kindly that this key may not run anything', async () => {
    const submit = await door.ask('POST', '/prompt', {
      headers: { 'X-API-Key': door.keys.user, 'Content-Type': 'application/json' },
      body: JSON.stringify({ prompt: PICTURE }),
    })
    expect(submit.status).toBe(200)
    const finished = async () => Object.keys((await (await fetch(`${door.sim.url}/history`)).json()) as object).length
    await expect.poll(finished).toBe(1)
    const person = await newPerson()
    const page = await person.newPage()
    const faults: string[] = []
    page.on('pageerror', (error) => faults.push(error.message))
    await page.goto(door.proxy.url)
    await page.getByLabel('API key').fill(door.keys.viewer)
    await page.getByRole('button', { name: 'Log in' }).click()

    await page.getByText(/^connected/).waitFor() // the socket is there
    await page.waitForFunction('document.querySelector("#shots img")?.naturalWidth === 32')

    door.sim.clearRequests()
    const run = page.getByRole('button', { name: 'Run' })
    await run.click()
    const alert = page.getByRole('alert')
    await alert.waitFor()
    expect(await alert.textContent()).toMatch(/^This key may look, but not run anything.*role user/)
    expect(door.sim.requests.filter(({ method }) => method !== 'GET')).toEqual([])

    // Still there, still connected, still looking: a 403 sends nobody to the login
    expect(await run.isEnabled()).toBe(true)
    expect(page.url()).toBe(`${door.proxy.url}/`)
    await page.reload()
    await page.getByText(/^connected/).waitFor()
    await page.waitForFunction('document.querySelector("#shots img")?.naturalWidth === 32')
    expect(faults).toEqual([])
    await person.close()
  })
})
