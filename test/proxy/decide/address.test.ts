import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ComfyAuthError } from '../../../src/errors.ts'
import { countedAs, formatIp, isLoopback, parseIp, trustedProxies } from '../../../src/proxy/decide/address.ts'

describe('an address', () => {
  test.each([
    ['127.0.0.1', '127.0.0.1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['::ffff:c000:201', '192.0.2.1'],
    ['0:0:0:0:0:ffff:192.0.2.1', '192.0.2.1'],
    ['::1', '0:0:0:0:0:0:0:1'],
    ['::', '0:0:0:0:0:0:0:0'],
    ['2001:DB8::1', '2001:db8:0:0:0:0:0:1'],
    ['fe80::1%eth0', 'fe80:0:0:0:0:0:0:1'],
    ['64:ff9b::192.0.2.1', '64:ff9b:0:0:0:0:c000:201'],
  ])('%s is %s', (text, canonical) => {
    expect(formatIp(parseIp(text)!)).toBe(canonical)
  })

  test.each([
    '',
    'localhost',
    '1.2.3',
    '1.2.3.4.5',
    '1.2.3.256',
    '1.2.3.04',
    '0x7f.0.0.1',
    '1.2.3.4 ',
    '1.2.3.+4',
    '1.2..4',
    ':::',
    '1::2::3',
    '12345::',
    '::g',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1:2:3:4:5:6:7::8',
    '1.2.3.4::',
    '::1.2.3.256',
    '[::1]',
    `${'0'.repeat(60)}::`,
  ])('%j is none', (text) => {
    expect(parseIp(text)).toBeUndefined()
  })

  test('of IPv6 counts by /64, of IPv4 whole', () => {
    expect(countedAs(parseIp('2001:db8:1:2:3:4:5:6')!)).toBe('2001:db8:1:2::/64')
    expect(countedAs(parseIp('192.0.2.7')!)).toBe('192.0.2.7')
  })

  test('is loopback in 127/8 and as ::1, nowhere else', () => {
    for (const text of ['127.0.0.1', '127.9.9.9', '::1', '::ffff:127.0.0.1']) {
      expect(isLoopback(parseIp(text)!), text).toBe(true)
    }
    for (const text of ['128.0.0.1', '0.0.0.0', '::', '::2', '1::1']) {
      expect(isLoopback(parseIp(text)!), text).toBe(false)
    }
  })

  test('reads back what it writes', () => {
    const address = fc.oneof(fc.ipV4(), fc.ipV6())
    fc.assert(
      fc.property(address, (text) => {
        const parsed = parseIp(text)!
        expect(parseIp(formatIp(parsed))).toEqual(parsed)
      }),
    )
  })
})

describe('--trusted-proxy', () => {
  test.each([
    ['10.0.0.0/8', '10.255.0.1', true],
    ['10.0.0.0/8', '11.0.0.1', false],
    ['10.128.0.0/9', '10.127.255.255', false],
    ['10.128.0.0/9', '10.128.0.0', true],
    ['192.0.2.1', '192.0.2.1', true],
    ['192.0.2.1', '192.0.2.2', false],
    ['::ffff:10.0.0.0/104', '10.1.1.1', true],
    ['2001:db8::/33', '2001:db8:7fff::1', true],
    ['2001:db8::/33', '2001:db8:8000::1', false],
    ['0.0.0.0/0', '8.8.8.8', true],
    ['0.0.0.0/0', '2001:db8::1', false],
    ['::/0', '8.8.8.8', false],
    ['10.0.0.0/8', 'nobody', false],
  ])('%s holds %s: %s', (network, address, held) => {
    expect(trustedProxies(['203.0.113.9', network])(address)).toBe(held)
  })

  test('trusts nobody where none is named', () => {
    expect(trustedProxies([])('127.0.0.1')).toBe(false)
  })

  test.each(['10.0.0.0/33', '10.0.0.0/-1', '10.0.0.0/', '::/129', 'proxy.lan', '::ffff:10.0.0.0/95', '1.2.3.4/8/8'])(
    'refuses %s without repeating it',
    (network) => {
      const make = () => trustedProxies(['127.0.0.1', network])
      expect(make).toThrow(ComfyAuthError)
      expect(make).toThrow('--trusted-proxy number 2')
      expect(make).not.toThrow(network)
    },
  )
})
