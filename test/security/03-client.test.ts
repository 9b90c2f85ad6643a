import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { trustedProxies } from '../../src/proxy/decide/address.ts'
import { clientAddress } from '../../src/proxy/decide/client.ts'
import { makePolicy, makeRequest } from '../support/policy.ts'

function client(
  peer: string,
  forwardedFor: readonly string[] = [],
  trusted: readonly string[] = ['10.0.0.0/8', '::1'],
) {
  const { facts, head } = makeRequest({ peer, headers: forwardedFor.flatMap((value) => ['X-Forwarded-For', value]) })
  return clientAddress(facts, head, makePolicy({ isTrustedProxy: trustedProxies(trusted) }))
}

describe('the client is', () => {
  test.each([
    ['the peer', '192.0.2.1', [], '192.0.2.1'],
    ['the peer, IPv4-mapped read as IPv4', '::ffff:192.0.2.1', [], '192.0.2.1'],
    ['the /64 of an IPv6 peer', '2001:db8:1:2:3:4:5:6', [], '2001:db8:1:2::/64'],
    ['the peer without its zone', 'fe80::1%eth0', [], 'fe80:0:0:0::/64'],
    ['local on a unix socket', '', ['192.0.2.9'], 'local'],
    ['the peer as it is where it is no address', 'pipe', [], 'pipe'],
    ['the peer where it is not trusted, whatever it forwards', '192.0.2.1', ['203.0.113.9'], '192.0.2.1'],
    ['what a trusted proxy forwards', '10.0.0.1', ['203.0.113.9'], '203.0.113.9'],
    ['what a trusted proxy forwards, mapped itself', '::ffff:10.0.0.1', ['::ffff:203.0.113.9'], '203.0.113.9'],
    ['the last untrusted hop', '10.0.0.1', ['198.51.100.1, 203.0.113.9, 10.0.0.2'], '203.0.113.9'],
    [
      'the last untrusted hop of several fields',
      '10.0.0.1',
      ['198.51.100.1', '203.0.113.9', '10.0.0.2'],
      '203.0.113.9',
    ],
    ['a hop without its port', '10.0.0.1', ['203.0.113.9:4711'], '203.0.113.9'],
    ['a hop without brackets and port', '::1', ['[2001:db8::9]:4711'], '2001:db8:0:0::/64'],
    ['a bare IPv6 hop', '::1', ['2001:db8::9'], '2001:db8:0:0::/64'],
    ['the peer where the last hop is no IP', '10.0.0.1', ['203.0.113.9, unknown'], '10.0.0.1'],
    ['the peer where a hop before a trusted one is no IP', '10.0.0.1', ['203.0.113.9, _x, 10.0.0.2'], '10.0.0.1'],
    ['the peer for an empty hop', '10.0.0.1', ['203.0.113.9,'], '10.0.0.1'],
    ['the peer for an empty header', '10.0.0.1', [''], '10.0.0.1'],
    ['the peer where all are trusted', '10.0.0.1', ['10.0.0.3, 10.0.0.2'], '10.0.0.1'],
    ['the peer for a broken bracket', '10.0.0.1', ['[2001:db8::9'], '10.0.0.1'],
    ['the peer for a broken port', '10.0.0.1', ['203.0.113.9:x'], '10.0.0.1'],
    ['the peer for junk behind a bracket', '10.0.0.1', ['[2001:db8::9]x'], '10.0.0.1'],
  ] as const)('%s', (_, peer, forwarded, expected) => {
    expect(client(peer, forwarded)).toBe(expected)
  })

  test('the peer where no proxy is trusted', () => {
    expect(client('127.0.0.1', ['203.0.113.9'], [])).toBe('127.0.0.1')
  })
})

test('whatever a client sends before it, what the trusted proxy appended decides', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 40 }), fc.ipV4(), (sent, address) => {
      fc.pre(!address.startsWith('10.'))
      expect(client('10.0.0.1', [`${sent}, ${address}`])).toBe(address)
    }),
  )
})
