import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isRefusal } from '../../../src/proxy/decide/refusal.ts'
import { isLanding, returnToOf } from '../../../src/proxy/decide/return-to.ts'
import { parseTarget } from '../../../src/proxy/decide/target.ts'
import { ask } from '../../support/policy.ts'

/** Where a login after this page load leads. */
function returnTo(target: string): string | undefined {
  const decision = ask({ target, headers: { Accept: 'text/html' } })
  return decision.kind === 'refuse' ? decision.returnTo : undefined
}

describe('a login returns to', () => {
  test.each([
    ['/', '/'],
    ['/?workflow=a%20b&x', '/?workflow=a%20b&x'],
    ['/?api_key=x', '/'],
    ['/?a=1&token=x', '/?a=1'],
    ['/index.html', '/index.html'],
    ['/view?filename=a.png&type=output', '/view?filename=a.png&type=output'],
    ['/api/history/abc', '/api/history/abc'],
    ['/userdata/workflows%2Fa.json', '/userdata/workflows%2Fa.json'],
    ['/extensions/node/a.html', '/extensions/node/a.html'],
  ])('from %s: %s', (target, expected) => {
    expect(returnTo(target)).toBe(expected)
  })

  test.each([
    '//evil.example',
    '//evil.example/%2e%2e',
    '///evil.example',
    '/\\evil.example',
    '/\\/evil.example',
    '/%5cevil.example',
    '/%2fevil.example',
    '/%2f%2fevil.example',
    '/.//evil.example',
    '/..//evil.example',
    '/x/..//evil.example',
    '/%2e%2e//evil.example',
    '/;//evil.example',
    '/;@evil.example',
    '/@evil.example',
    '/%40evil.example',
    '/evil.example',
    '/%09/evil.example',
    '/%0d%0aLocation:https://evil.example',
    '/%00//evil.example',
    '/%E3%80%82evil.example',
    '/%EF%BC%8Fevil.example',
    '/\u00e3\u0080\u0082evil',
    '/https://evil.example',
    '/https:evil.example',
    '/javascript:alert(1)',
    '/queue/',
    '/custom/reboot',
    '/manager/reboot',
    '/internal/logs',
    '/ws',
    '/auth_logout',
    '/?next="><script>',
    '/?x=<b>',
    '/?x=\\evil',
    '/?x=`',
    '/?x=\u00fc',
  ])('/ from %j', (target) => {
    expect(returnTo(target)).toBe('/')
  })

  test('/ from what was refused before its path was known', () => {
    for (const target of ['https://evil.example/', '/#//evil.example', '/ //evil.example', '/\t/evil.example']) {
      expect(returnTo(target)).toBe('/')
    }
  })

  test('nothing that a browser takes elsewhere, or that holds a key', () => {
    const origin = 'http://127.0.0.1:8189'
    const piece = fc.constantFrom(
      ...'/ // \\ . .. %2f %5c %2e %09 ; @ : ? & # evil.example view queue api api_key=k token=k a=1 %00 < " \u00e3'.split(
        ' ',
      ),
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
        const target = parseTarget(`/${pieces.join('')}`)
        if (isRefusal(target)) return
        const back = returnToOf(target)
        expect(new URL(back, origin).origin).toBe(origin)
        expect(new URL(back, origin).href).toBe(origin + back)
        const names = new URL(back, origin).search.slice(1).split('&')
        expect(names.filter((pair) => /^(api_key|token)(=|$)/.test(pair))).toEqual([])
      }),
      { numRuns: 5_000 },
    )
  })
})

test('only what ComfyUI lets a viewer read is a landing', () => {
  const landing = (raw: string) => {
    const target = parseTarget(raw)
    return !isRefusal(target) && isLanding(target.canonical)
  }
  for (const path of ['/', '/queue', '/api/view', '/assets/x.js']) expect(landing(path), path).toBe(true)
  for (const path of ['/ws', '/api/ws', '/free', '/custom', '/manager/x', '/internal/logs', '//', '/interrupt']) {
    expect(landing(path), path).toBe(false)
  }
})
