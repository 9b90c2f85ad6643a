import type { BrowserContext, Page } from 'playwright-core'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { atWork, type House, hasChromium, logIn, openHouse } from './support.ts'

describe.skipIf(!hasChromium)('the clientId that ComfyUI’s page keeps in a tab', () => {
  let house: House
  let person: BrowserContext
  let page: Page
  beforeAll(async () => {
    house = await openHouse()
  })
  afterAll(() => house?.close())
  beforeEach(async () => {
    ;({ person, page } = await house.visit())
    await page.goto(house.url)
    await logIn(page, house.key)
    await atWork(page)
    // As ComfyUI's page has it, in both places.
    await page.evaluate('window.name = sessionStorage.clientId')
  })

  const clientId = (of: Page) => of.evaluate('sessionStorage.clientId') as Promise<string>
  const name = (of: Page) => of.evaluate('window.name') as Promise<string>
  const logOut = async (of: Page) => {
    await of.evaluate('void comfyuiLogout()')
    await of.getByLabel('API key').waitFor()
  }

  test('stays for the same key, which sees what it runs go on', async () => {
    const before = await clientId(page)
    await logOut(page)
    await logIn(page, house.key)
    await atWork(page)
    expect([await clientId(page), await name(page)]).toEqual([before, before])
  })

  test('goes for another one, whose socket would be refused under it', async () => {
    const before = await clientId(page)
    await logOut(page)
    await logIn(page, house.otherKey)
    await atWork(page)
    expect(await clientId(page)).not.toBe(before)
    expect(await name(page)).toBe('')
    await page.reload()
    await atWork(page)
  })

  test('goes in a tab too that another tab’s login lets in, and for a key in the address', async () => {
    const before = await clientId(page)
    const second = await person.newPage()
    await second.goto(`${house.url}/?second`)
    await atWork(second)
    const seconds = await clientId(second)
    await logOut(page)
    await second.getByLabel('API key').waitFor()
    await logIn(page, house.otherKey)
    await Promise.all([atWork(page), atWork(second)])
    expect(await clientId(page)).not.toBe(before)
    expect(await clientId(second)).not.toBe(seconds)

    const others = await clientId(second)
    await second.goto(`${house.url}/?api_key=${house.key}`)
    await second.getByRole('button', { name: 'Log in' }).click()
    await atWork(second)
    expect(await clientId(second)).not.toBe(others)
  })

  test('is all that is looked at: a window’s own name stays', async () => {
    await page.evaluate("window.name = 'mine'")
    await logOut(page)
    await logIn(page, house.otherKey)
    await atWork(page)
    expect(await name(page)).toBe('mine')
  })
})
