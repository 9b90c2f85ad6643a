import { describe, expect, test } from 'vitest'
import { decide } from '../../src/proxy/decide/decide.ts'
import type { HostPolicy } from '../../src/proxy/decide/facts.ts'
import { parseHost } from '../../src/proxy/decide/host.ts'
import { makeFacts, makePolicy } from '../support/policy.ts'

function status(
  headers: readonly string[],
  hosts: Partial<HostPolicy> = {},
  more: { http2?: boolean; url?: string } = {},
) {
  const { url, ...facts } = more
  const policy = makePolicy({
    hosts: { kind: 'loopback', allowed: new Set(), ...hosts },
    publicUrl: url === undefined ? undefined : new URL(url),
  })
  const request = { ...makeFacts({ target: '/health', ...facts }), headers }
  const decision = decide(request, policy)
  return decision.kind === 'refuse' ? decision.refusal.status : decision.kind
}

describe('Host is 400', () => {
  test('where there is none, or more than one', () => {
    expect(status([])).toBe(400)
    expect(status(['Host', ''])).toBe(400)
    expect(status(['Host', 'localhost', 'Host', 'localhost'])).toBe(400)
    expect(status(['Host', 'localhost', 'hOST', 'evil.example'])).toBe(400)
  })

  test.each([
    'local host',
    'localhost:',
    'localhost:x',
    'localhost:65536',
    'localhost:123456',
    'localhost:80:80',
    'localhost..',
    '.localhost',
    '.',
    'a..b',
    'user@localhost',
    'localhost/x',
    'http://localhost',
    'localhost,localhost',
    'localhost\u0000',
    'l\u00f6calhost',
    '[::1',
    '[::1]x',
    '[127.0.0.1]',
    '[localhost]',
    '[::1%25eth0]',
    '::1',
  ])('as %j', (host) => {
    expect(status(['Host', host])).toBe(400)
  })

  test('where the name is longer than a name may be, whatever stands behind it', () => {
    const long = (bytes: number) => `${'a.'.repeat(bytes)}localhost`.slice(-bytes)
    expect(status(['Host', `${long(255)}:8189`])).toBe('page')
    expect(status(['Host', long(256)])).toBe(400)
    expect(status(['Host', `${long(256)}:8189`], { kind: 'any' })).toBe(400)
    expect(status(['Host', long(30_001)])).toBe(400)
  })
})

describe('a loopback bind', () => {
  test.each([
    'localhost',
    'LocalHost:8189',
    'localhost.',
    'a.localhost:1',
    '127.0.0.1',
    '127.0.0.1:8189',
    '127.3.2.1',
    '[::1]:8189',
    '[0:0:0:0:0:0:0:1]',
  ])('answers to %s', (host) => {
    expect(status(['Host', host])).toBe('page')
  })

  test.each([
    'evil.example',
    'localhost.evil.example',
    'xlocalhost',
    '192.168.1.5',
    '0.0.0.0:8189',
    '127.1',
    '2130706433',
    '0x7f.0.0.1',
    '127.0.0.1.nip.io',
    '[::ffff:127.0.0.1]',
    '[::]',
  ])('does not answer to %s: it may be rebound', (host) => {
    expect(status(['Host', host])).toBe(421)
  })

  test('answers to what --allow-host names, whatever its case, dot and port', () => {
    const hosts = { allowed: new Set(['box.lan', '[2001:db8::1]']) }
    for (const host of ['box.lan', 'BOX.lan:8189', 'box.lan.', '[2001:db8::1]:1']) {
      expect(status(['Host', host], hosts), host).toBe('page')
    }
    expect(status(['Host', 'a.box.lan'], hosts)).toBe(421)
  })

  test("answers to --public-url's host", () => {
    expect(status(['Host', 'comfy.example'], {}, { url: 'https://comfy.example' })).toBe('page')
    expect(status(['Host', '[2001:db8::2]'], {}, { url: 'http://[2001:db8::2]:8189' })).toBe('page')
    expect(status(['Host', 'other.example'], {}, { url: 'https://comfy.example' })).toBe(421)
  })
})

test('another bind answers to what --allow-host names, or to any host', () => {
  const listed = { kind: 'listed', allowed: new Set(['box.lan']) } as const
  expect(status(['Host', 'box.lan'], listed)).toBe('page')
  expect(status(['Host', '127.0.0.1'], listed)).toBe(421)
  expect(status(['Host', 'whatever.example'], { kind: 'any' })).toBe('page')
  expect(status(['Host', 'not a host'], { kind: 'any' })).toBe(400)
})

test('--no-auth beyond loopback answers to IP literals too, never to other names', () => {
  for (const host of ['192.168.1.5:8189', '[2001:db8::1]', 'localhost']) {
    expect(status(['Host', host], { kind: 'ip' }), host).toBe('page')
  }
  expect(status(['Host', 'evil.example'], { kind: 'ip' })).toBe(421)
})

test('in HTTP/2 a Host beside :authority must be equal to it', () => {
  const h2 = { http2: true }
  expect(status(['host', 'localhost', 'Host', 'LOCALHOST'], {}, h2)).toBe('page')
  expect(status([':authority', 'localhost'], {}, h2)).toBe('page')
  expect(status([':authority', 'localhost', 'host', 'evil.example'], {}, h2)).toBe(400)
  expect(status(['host', 'evil.example', 'host', 'localhost', 'host', 'localhost'], {}, h2)).toBe(400)
})

test('a host is read lower-cased, one trailing dot off', () => {
  expect(parseHost('BOX.Lan.:8189')).toEqual({ name: 'box.lan', text: 'box.lan:8189' })
  expect(parseHost('[2001:DB8::1]')).toEqual({ name: '2001:db8::1', text: '[2001:db8::1]' })
})
