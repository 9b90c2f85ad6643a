import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { makeCertificate } from '../../src/proxy/certificate.ts'
import { type LiveTls, openTls } from '../../src/proxy/tls.ts'
import { temporaryFolder } from '../support/cli.ts'
import { testCertificate } from '../support/http2.ts'

const DAY_MS = 86_400_000

let folder: string
let lines: string[]
let live: LiveTls | undefined

beforeEach(() => {
  folder = temporaryFolder()
  lines = []
})

afterEach(() => {
  live?.close()
  live = undefined
})

const file = (name: string) => join(folder, name)
const fingerprintOf = (pem: string) => new X509Certificate(pem).fingerprint256

function write(name: string, text: string): void {
  writeFileSync(file(name), text, { mode: 0o600 })
}

function open(cert: string, key: string, nowMs = Date.now): LiveTls {
  live = openTls({ certFile: file(cert), keyFile: file(key) }, nowMs, (line) => lines.push(line))
  return live
}

/** What `makeCertificate` does not make: a key on another curve, and its certificate, as `NAME.crt` and `NAME.key`. */
function writeOnCurve(name: string, curve: string): void {
  const files = ['-keyout', file(`${name}.key`), '-out', file(`${name}.crt`)]
  const key = ['-newkey', 'ec', '-pkeyopt', `ec_paramgen_curve:${curve}`, '-nodes']
  execFileSync('openssl', ['req', '-x509', ...key, ...files, '-days', '100', '-subj', '/CN=test'], { stdio: 'ignore' })
}

/** A link that takes the place of another in one step. */
function link(target: string, name: string): void {
  symlinkSync(target, file('link'))
  renameSync(file('link'), file(name))
}

describe('a certificate is read again when', () => {
  test('one folder takes the place of another behind a link, as Kubernetes renews a secret', async () => {
    for (const name of ['..1', '..2']) {
      mkdirSync(file(name))
      write(join(name, 'tls.crt'), testCertificate())
    }
    const pems = ['..1', '..2'].map((name) => {
      const pem = testCertificate()
      for (const part of ['tls.crt', 'tls.key']) write(join(name, part), pem)
      return fingerprintOf(pem)
    })
    link('..1', '..data')
    link('..data/tls.crt', 'tls.crt')
    link('..data/tls.key', 'tls.key')
    const opened = open('tls.crt', 'tls.key')
    expect(opened.fingerprint).toBe(pems[0])
    link('..2', '..data')
    await expect.poll(() => opened.fingerprint, { timeout: 10_000 }).toBe(pems[1])
  })

  test('its links point elsewhere, one after the other, as certbot renews', async () => {
    mkdirSync(file('archive'))
    const pems = [1, 2].map((version) => {
      const pem = testCertificate()
      for (const part of ['fullchain', 'privkey']) write(join('archive', `${part}${version}.pem`), pem)
      return fingerprintOf(pem)
    })
    const renew = (part: string, version: number) => link(`archive/${part}${version}.pem`, `${part}.pem`)
    renew('fullchain', 1)
    renew('privkey', 1)
    const opened = open('fullchain.pem', 'privkey.pem')
    renew('privkey', 2)
    await expect.poll(() => lines.join(), { timeout: 10_000 }).toContain('The last good certificate stays in use')
    expect(opened.fingerprint).toBe(pems[0])
    renew('fullchain', 2)
    await expect.poll(() => opened.fingerprint, { timeout: 10_000 }).toBe(pems[1])
  })

  test('its files come back after they were gone', async () => {
    const pem = testCertificate()
    for (const name of ['a.pem', 'b.pem']) write(name, pem)
    const opened = open('a.pem', 'b.pem')
    rmSync(file('a.pem'))
    await expect.poll(() => lines.join(), { timeout: 10_000 }).toContain('The file of --tls-certfile is not there')
    const next = testCertificate()
    for (const name of ['a.pem', 'b.pem']) write(name, next)
    await expect.poll(() => opened.fingerprint, { timeout: 10_000 }).toBe(fingerprintOf(next))
  })
})

describe('at the start', () => {
  const names = ['localhost']

  test.each([
    ['has run out', -900, 'has run out: clients refuse it'],
    ['is not valid yet', 2, 'is not valid yet: clients refuse it'],
    ['runs out within two weeks', -813, 'runs out within two weeks'],
  ])('a certificate that %s is warned of', (_what, days, message) => {
    write('a.pem', makeCertificate({ commonName: 'a', names, nowMs: Date.now() + days * DAY_MS }))
    open('a.pem', 'a.pem')
    expect(lines.join()).toContain(message)
  })

  test('and each day later, while it is in use', () => {
    const timers = vi.spyOn(globalThis, 'setInterval')
    let now = Date.now()
    write('a.pem', testCertificate())
    open('a.pem', 'a.pem', () => now)
    const look = timers.mock.calls.find(([, everyMs]) => everyMs === DAY_MS)![0] as () => void
    timers.mockRestore()
    look()
    expect(lines).toEqual([])
    now += 815 * DAY_MS
    look()
    expect(lines.join()).toContain('runs out within two weeks')
  })

  test('a good one is not', () => {
    write('a.pem', testCertificate())
    open('a.pem', 'a.pem')
    expect(lines).toEqual([])
  })

  test('text about a certificate, and the parameters of its curve, may stand before it', () => {
    const pem = testCertificate()
    const parameters = '-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n'
    write(
      'a.pem',
      `Certificate:\n    Data:\n        Version: 3 (0x2)\n${pem.slice(pem.indexOf('-----BEGIN CERTIFICATE'))}`,
    )
    write('b.pem', `${parameters}${pem}`)
    expect(open('a.pem', 'b.pem').fingerprint).toBe(fingerprintOf(pem))
  })

  test('a chain whose own certificate does not stand first is refused, with what to do', () => {
    const pem = testCertificate()
    const own = pem.slice(pem.indexOf('-----BEGIN CERTIFICATE'))
    const authority = testCertificate(['ca.example'])
    write('chain.pem', `${authority.slice(authority.indexOf('-----BEGIN CERTIFICATE'))}${own}`)
    write('key.pem', pem)
    expect(() => open('chain.pem', 'key.pem')).toThrow(
      expect.objectContaining({ remedy: expect.stringContaining('stands first in its file') }),
    )
  })

  test.each(['secp256k1', 'secp224r1', 'brainpoolP256r1'])(
    'a key on %s is refused, for no client agrees to it',
    (curve) => {
      writeOnCurve('a', curve)
      expect(() => open('a.crt', 'a.key')).toThrow('on a curve that clients do not take')
    },
  )

  test.each(['P-256', 'P-384', 'P-521'])('a key on %s is taken', (curve) => {
    writeOnCurve('a', curve)
    expect(open('a.crt', 'a.key').fingerprint).not.toBe('')
  })
})

test('a renewed certificate whose key no client agrees to leaves the good one in use', async () => {
  const pem = testCertificate()
  for (const name of ['a.crt', 'a.key']) write(name, pem)
  const opened = open('a.crt', 'a.key')
  writeOnCurve('a', 'secp256k1')
  opened.reload()
  expect(lines.join()).toContain('on a curve that clients do not take')
  expect(lines.join()).toContain('The last good certificate stays in use')
  expect(opened.fingerprint).toBe(fingerprintOf(pem))
})
