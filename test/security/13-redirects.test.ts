import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { ResponsePlan } from '../../src/proxy/decide/facts.ts'
import { responseHeaders } from '../../src/proxy/decide/response-headers.ts'
import { bearer, forwarded, KEYS, RESPONSE_PLAN } from '../support/policy.ts'

describe('a redirect of the upstream', () => {
  const to = (location: string, plan: Partial<ResponsePlan> = {}) => {
    const headers = responseHeaders(['Location', location], { ...RESPONSE_PLAN, ...plan }, 302)
    return headers[headers.indexOf('Location') + 1]!
  }
  const below = { basePath: '/comfy' }

  test('to a path of its own leads below --base-path', () => {
    expect(to('/my-node/?a=/b#c', below)).toBe('/comfy/my-node/?a=/b#c')
    expect(to('/', below)).toBe('/comfy/')
    expect(to('/my-node/')).toBe('/my-node/')
  })

  test('to itself by the name it has for us leads to us', () => {
    expect(to('http://127.0.0.1:8188/my-node/?a#b', below)).toBe('/comfy/my-node/?a#b')
    expect(to('HTTP://127.0.0.1:8188/x')).toBe('/x')
    expect(to('//127.0.0.1:8188/x')).toBe('/x')
    expect(to('http://127.0.0.1:8188')).toBe('/')
    expect(to('http://127.0.0.1:8188?a')).toBe('/?a')
    const https = { upstreamHost: 'gpu.example', ...below }
    expect(to('https://GPU.example:443/\u00c3\u00bc', https)).toBe('/comfy/\u00c3\u00bc')
    expect(to('http://[::1]/x', { upstreamHost: '[::1]' })).toBe('/x')
  })

  test('never names another host by that', () => {
    expect(to('http://127.0.0.1:8188//evil.example/')).toBe('/.//evil.example/')
    expect(to('http://127.0.0.1:8188/\\evil.example/')).toBe('/./\\evil.example/')
    expect(to('http://127.0.0.1:8188//evil.example/', below)).toBe('/comfy//evil.example/')
    expect(new URL(to('http://127.0.0.1:8188//evil.example/'), 'http://gpu.lan:8189').host).toBe('gpu.lan:8189')
  })

  test('relative, or to another host, stays as it is', () => {
    for (const location of [
      'x',
      '?a',
      '../x',
      '',
      'https://evil.example/x',
      '//evil.example/x',
      '/\\evil.example/x',
      'http://127.0.0.1:8188@evil.example/',
      'http://a@127.0.0.1:8188/x',
      'http://127.0.0.1:81880/',
      'http://127.0.0.1/x',
      'http://127.0.0.1:8188.evil.example/',
      'javascript:alert(1)',
      'http://',
    ]) {
      expect(to(location, below), location).toBe(location)
    }
  })

  test.each([
    ['http://127.0.0.1:8188/\t/evil.example/x', '/.//evil.example/x'],
    ['http://127.0.0.1:8188\\\\evil.example/', '/./\\evil.example/'],
    ['http://127.0.0.1:8188\\x', '/x'],
    ['//127.0.0.1:8188\\/evil.example', '/.//evil.example'],
    ['HT\tTP://127.0.0.1:8188/\t\\evil.example', '/./\\evil.example'],
    ['http:\\\\127.0.0.1:8188\\x', '/x'],
    ['http:///127.0.0.1:8188//evil.example', '/.//evil.example'],
    ['\\\\127.0.0.1:8188//evil.example', '/.//evil.example'],
    ['http://127.1:8188/x', '/x'],
    ['http://2130706433:8188', '/'],
    ['http://127.0.0.1:8188/..//evil.example', '/..//evil.example'],
  ])('%j is one to itself, as browsers read it', (location, path) => {
    expect(to(location)).toBe(path)
    expect(new URL(path, 'https://gpu.lan:8189').origin).toBe('https://gpu.lan:8189')
  })

  test('as browsers read another host into it stays as it is', () => {
    for (const location of [
      '/\t/evil.example',
      '\\\\evil.example',
      'http://127.0.0.1:8188\t@evil.example/',
      '\t//evil',
    ]) {
      expect(to(location), location).toBe(location)
      expect(to(location, below), location).toBe(location)
    }
    expect(to('\\x', below)).toBe('/comfy/x')
  })

  test('never leads away from us where it was written anew, and always leads to us from the upstream', () => {
    const part = fc.constantFrom(
      ...['http:', 'HTTPS:', '/', '\\', '\t', '.', '..', '?', '#', '@', ':', ' ', '%2f', 'evil.example', 'x', '//'],
      ...['127.0.0.1:8188', '127.1:8188', 'http://127.0.0.1:8188', '//127.0.0.1:8188'],
    )
    const locations = fc.array(part, { maxLength: 8 }).map((parts) => parts.join(''))
    fc.assert(
      fc.property(locations, fc.constantFrom('', '/comfy'), (location, basePath) => {
        const result = to(location, { basePath })
        for (const ours of ['http://gpu.lan:8189', 'https://gpu.lan']) {
          const meant = URL.parse(location, `${ours}/view`)
          if (result !== location) {
            expect(result.startsWith('/')).toBe(true)
            expect(new URL(result, `${ours}/view`).origin).toBe(ours)
          } else if (/^https?:\/\/127\.0\.0\.1:8188\//.test(meant?.href ?? '')) {
            // With a scheme and no two slashes it leads there from a page of the other scheme alone
            expect(location.replaceAll('\t', '').trim()).toMatch(/^https?:(?![/\\]{2})/i)
          }
        }
      }),
      { numRuns: 5_000 },
    )
  })

  test('has what the policy says', () => {
    const policy = { basePath: '/comfy', upstreamHost: '10.0.0.9' }
    expect(forwarded({ target: '/comfy/queue', headers: bearer(KEYS.admin) }, policy).response).toMatchObject(policy)
  })
})
