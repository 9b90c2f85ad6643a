import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { injectIndex } from '../../src/proxy/pages/index-page.ts'
import { pages } from '../support/html.ts'
import { hasChromium, newPerson } from './chromium.ts'

/** What the browser's own parser makes of each page, less our script, and where that stood. */
const READ = `(page) => {
  const read = new DOMParser().parseFromString(page, 'text/html')
  const first = read.scripts[0]
  const ours = first?.getAttribute('src') === '/auth_inject.js'
  const at = ours ? { first: read.head.firstChild === first, text: first.textContent } : undefined
  if (ours) first.remove()
  return { at, mode: read.compatMode, tree: new XMLSerializer().serializeToString(read) }
}`

const decode = (page: Uint8Array) => new TextDecoder().decode(page)

describe.skipIf(!hasChromium)('the index page as Chromium reads it', () => {
  test('has our script first in its head, and is otherwise what it was', async () => {
    const person = await newPerson()
    const page = await person.newPage()
    const samples = fc.sample(pages, 1_000).map(({ before, after }) => {
      const html = Buffer.from(before + after, 'latin1')
      return { html: decode(html), injected: decode(injectIndex(html, ['Content-Type', 'text/html'], OPTIONS)!) }
    })
    const read = (texts: string[]) => page.evaluate(`${JSON.stringify(texts)}.map(${READ})`) as Promise<object[]>
    const was = await read(samples.map(({ html }) => html))
    const is = await read(samples.map(({ injected }) => injected))
    await person.close()
    for (const [i, { injected }] of samples.entries()) {
      expect(is[i], injected).toEqual({ ...was[i], at: { first: true, text: '' } })
    }
  })
})

const OPTIONS = { wayOut: true, basePath: '' }
