import fc from 'fast-check'
import { expect, test } from 'vitest'
import { safeNext } from '../../../src/proxy/pages/next.ts'

const nextOf = (text: string) => safeNext(text, '')
const OURS = 'https://comfy.example:8189'

test.each([
  '/',
  '/?workflow=a%20b',
  '/index.html#graph-1',
  '/view?filename=a.png&type=output',
  '/userdata/workflows%2Fa.json',
  '/#/x?y=//z',
  '/view?next=//evil.example',
])('a login returns to %s', (target) => {
  expect(nextOf(target)).toBe(target)
})

test('a key in the query does not come along', () => {
  expect(nextOf('/?api_key=secret&a=1#x')).toBe('/?a=1#x')
  expect(nextOf('/?api%5Fkey=secret')).toBe('/')
  expect(nextOf('/?token=secret')).toBe('/')
})

const TRICKS = [
  '',
  'evil.example',
  'https://evil.example',
  'https:evil.example',
  'https:/evil.example',
  'https:///evil.example',
  'HTTPS://evil.example',
  'javascript:alert(1)',
  'data:text/html,x',
  'vbscript:x',
  '//evil.example',
  '///evil.example',
  '////evil.example',
  '//evil.example/..',
  '/\\evil.example',
  '\\/evil.example',
  '\\\\evil.example',
  '/\\/evil.example',
  '/\t/evil.example',
  '/\n/evil.example',
  '/\r/evil.example',
  '\t//evil.example',
  ' //evil.example',
  '\u0000//evil.example',
  '/ /evil.example',
  '/\u00a0/evil.example',
  '/\u3000/evil.example',
  '/\uff0fevil.example',
  '/%09/evil.example',
  '/%0a/evil.example',
  '/%0d%0aSet-Cookie:x=1',
  '/%00/evil.example',
  '/%2f/evil.example',
  '/%2fevil.example',
  '/%5cevil.example',
  '/%5c%5cevil.example',
  '/%252f%252fevil.example',
  '/./evil.example',
  '/.//evil.example',
  '/../evil.example',
  '/a/..//evil.example',
  '/%2e%2e//evil.example',
  '/a//evil.example',
  '/;@evil.example',
  '/%3b@evil.example',
  '@evil.example',
  '.evil.example',
  ':8080',
  '?//evil.example',
  '#//evil.example',
  '/"onload="alert(1)',
  '/<script>',
  "/\\'",
  '/{x}',
  '/a|b',
  '/%',
  '/%zz',
  '/%c0%af',
  '/auth_login.html',
  '/auth_login.html?next=/',
  '/auth_login%2ehtml',
  '/auth_login.html#x',
  '/auth_logout',
  '/auth_inject.js',
  '/custom/reboot',
  '/manager/reboot',
  '/internal/logs',
  '/ws',
]

test.each(TRICKS)('a login never returns to %j', (target) => {
  expect(nextOf(target)).toBeUndefined()
})

test('whatever is asked for, a browser finds our own origin in the answer, and the same path', () => {
  const piece = fc.constantFrom(
    '/',
    '//',
    '\\',
    '.',
    '..',
    '%2f',
    '%5c',
    '%09',
    '\t',
    '\n',
    '@',
    ':',
    '?',
    '#',
    'evil.example',
    'http:',
    ';',
    '%',
    'a',
    '\u3002',
  )
  const text = fc.oneof(
    fc.array(piece, { maxLength: 12 }).map((parts) => parts.join('')),
    fc.string({ unit: 'binary' }),
    fc.webUrl(),
  )
  fc.assert(
    fc.property(text, fc.boolean(), (rest, slash) => {
      const next = nextOf(slash ? `/${rest}` : rest)
      if (next === undefined) return
      const url = new URL(next, `${OURS}/auth_login.html`)
      expect(url.origin).toBe(OURS)
      expect(url.pathname).toBe(next.split(/[?#]/, 1)[0])
    }),
    { numRuns: 5_000 },
  )
})

test('nor to something endless', () => {
  expect(nextOf(`/${'a'.repeat(2_048)}`)).toBeUndefined()
})
