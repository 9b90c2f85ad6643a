import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:https'
import { connect as connectTcp } from 'node:net'
import { join } from 'node:path'
import { type ConnectionOptions, connect } from 'node:tls'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { makeCertificate } from '../../../src/proxy/certificate.ts'
import { createSim, type Sim } from '../../../src/sim/sim.ts'
import { temporaryFolder } from '../../support/cli.ts'
import { closers, closing } from '../../support/closers.ts'
import { client2, testCertificate } from '../../support/http2.ts'
import { portOf } from '../../support/ports.ts'
import { ADMIN, exchange, get, startProxy } from './support.ts'

let sim: Sim
let folder: string

beforeAll(async () => {
  sim = await createSim()
})

afterAll(() => sim.close())

beforeEach(() => {
  folder = temporaryFolder()
})

const file = (name: string) => join(folder, name)

function write(name: string, text: string, mode = 0o600): string {
  writeFileSync(file('new'), text, { mode })
  renameSync(file('new'), file(name))
  return file(name)
}

async function start(options: Parameters<typeof startProxy>[1] = {}) {
  const tls = { certFile: file('cert.pem'), keyFile: file('key.pem') }
  return closing(await startProxy(sim.url, { tls, ...options }))
}

function writePair(pem = testCertificate()): string {
  write('cert.pem', pem)
  write('key.pem', pem)
  return new X509Certificate(pem).fingerprint256
}

/** The fingerprint that a new connection is shown. */
async function shown(port: number, options: ConnectionOptions = {}): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false, ...options })
  await once(socket, 'secureConnect')
  const { fingerprint256 } = socket.getPeerX509Certificate()!
  socket.destroy()
  return fingerprint256
}

describe('a listener with a certificate', () => {
  test('speaks TLS 1.2 and 1.3, and nothing older', async () => {
    writePair()
    const { port, url } = await start()
    expect(url).toMatch(/^https:/)
    for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
      expect(await shown(port, { minVersion: version, maxVersion: version })).toMatch(/^[0-9A-F:]{95}$/)
    }
    const old = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' } as const
    await expect(shown(port, old)).rejects.toThrow()
  })

  test('agrees on a key by the curves of its list alone', async () => {
    writePair()
    const { port } = await start()
    for (const ecdhCurve of ['X25519', 'P-256', 'P-384']) expect(await shown(port, { ecdhCurve })).not.toBe('')
    for (const ecdhCurve of ['ffdhe2048', 'ffdhe3072', 'X448', 'P-521']) {
      await expect(shown(port, { ecdhCurve })).rejects.toThrow()
    }
  })

  test('tells whoever speaks plain HTTP to it to write https://, and nothing to who speaks anything else', async () => {
    writePair()
    const { port } = await start()
    const answer = await exchange(port, get('/queue'))
    expect(answer).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/)
    expect(answer).toContain('write https:// in place of http://')
    expect(await exchange(port, 'SSH-2.0-OpenSSH_9.2\r\n')).not.toContain('HTTP')
    expect(sim.requests).toEqual([])
  })

  test('offers HTTP/2 and HTTP/1.1 by ALPN, and HTTP/1.1 to whoever does not ask', async () => {
    writePair()
    const { port } = await start()
    const chosen: unknown[] = []
    for (const ALPNProtocols of [['h2', 'http/1.1'], ['http/1.1'], undefined]) {
      const socket = connect({
        host: '127.0.0.1',
        port,
        rejectUnauthorized: false,
        ...(ALPNProtocols && { ALPNProtocols }),
      })
      await once(socket, 'secureConnect')
      chosen.push(socket.alpnProtocol)
      socket.destroy()
    }
    expect(chosen).toEqual(['h2', 'http/1.1', false])
  })

  test('carries a WebSocket', async () => {
    writePair()
    const { port } = await start()
    const headers = { Authorization: `Bearer ${ADMIN}` }
    const socket = new WebSocket(`wss://127.0.0.1:${port}/ws?clientId=a`, { headers, rejectUnauthorized: false })
    const [data] = await once(socket, 'message')
    expect(JSON.parse(String(data)).type).toBe('status')
    socket.close()
    await once(socket, 'close')
  })

  test('cuts a handshake that stays half-done, and goes on', async () => {
    writePair()
    const { port } = await start({ headMs: 300 })
    const silent = connectTcp(port, '127.0.0.1')
    await once(silent, 'connect')
    await once(silent.resume(), 'close')
    expect(await shown(port)).not.toBe('')
  })

  test('sends Strict-Transport-Security only where it was asked for', async () => {
    writePair()
    for (const hsts of [false, true]) {
      const { port } = await start({ hsts })
      const client = await client2(port)
      for (const path of ['/queue', '/auth_login.html']) {
        const { headers } = await client.ask('GET', path)
        expect('strict-transport-security' in headers).toBe(hsts)
      }
      client.close()
      for (const text of [
        get('/queue'),
        get('/ws', SOCKET),
        `GET /ws HTTP/1.1\r\nHost: a\r\n${SOCKET}\r\n`,
        'nonsense\r\n\r\n',
      ]) {
        const head = await headOver(port, text)
        expect(head.toLowerCase().split('strict-transport-security: max-age=31536000')).toHaveLength(hsts ? 2 : 1)
      }
    }
  })
})

const SOCKET =
  'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n'

/** The head of the answer to `text` in HTTP/1.1 over TLS. */
async function headOver(port: number, text: string): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false })
  socket.write(text)
  let head = ''
  for await (const chunk of socket) {
    head += chunk
    if (head.includes('\r\n\r\n')) break
  }
  expect(head).toMatch(/^HTTP\/1\.1 \d{3} /)
  return head
}

test('a hello of TLS on a plain port is 400, and its connection closes', async () => {
  const proxy = closing(await startProxy(sim.url))
  expect(await exchange(proxy.port, '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03')).toMatch(/^HTTP\/1\.1 400 /)
})

describe('the files of a certificate', () => {
  test('are read again as they change, and open connections go on', async () => {
    const first = writePair()
    const { port, lines } = await start()
    const client = await client2(port)
    expect(await shown(port)).toBe(first)
    const second = writePair()
    await expect.poll(() => shown(port), { timeout: 5_000 }).toBe(second)
    expect(lines.join()).toContain('The certificate was read again')
    const { status } = await client.ask('GET', '/queue', { authorization: `Bearer ${ADMIN}` })
    expect(status).toBe(200)
    client.close()
  })

  test('a new pair that does not fit leaves the old one, and says so once', async () => {
    const first = writePair()
    const { port, lines } = await start()
    const broken = () => lines.filter((line) => line.includes('stays in use'))
    write('cert.pem', testCertificate())
    await expect.poll(broken, { timeout: 5_000 }).toHaveLength(1)
    write('cert.pem', testCertificate())
    const third = testCertificate()
    write('key.pem', third)
    await new Promise((resolve) => setTimeout(resolve, 1_000)) // longer than the watch waits
    expect(broken()).toHaveLength(1)
    expect(await shown(port)).toBe(first)
    write('cert.pem', third)
    await expect.poll(() => shown(port), { timeout: 5_000 }).toBe(new X509Certificate(third).fingerprint256)
  })

  test('that others can read are warned of', async () => {
    writePair()
    chmodSync(file('key.pem'), 0o644)
    const { lines } = await start()
    expect(lines.join()).toContain('--tls-keyfile: chmod 600')
  })

  test.each([
    ['cert.pem', undefined, 'The file of --tls-certfile is not there.'],
    ['cert.pem', 'hello', '--tls-certfile holds no certificate.'],
    ['key.pem', 'hello', '--tls-keyfile holds no private key.'],
    ['key.pem', '-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n', 'passphrase'],
    ['key.pem', testCertificate(), '--tls-keyfile is not the key of the certificate'],
  ])('%s that is no good ends the start: %#', async (name, text, message) => {
    writePair()
    if (text === undefined) rmSync(file(name))
    else write(name, text)
    await expect(start()).rejects.toThrow(message)
  })
})

describe('a self-signed certificate', () => {
  const selfSigned = () => ({ tls: { selfSigned: file('own.pem') } })

  test('is made, kept 0600, and the same after a restart', async () => {
    const first = await shown((await start(selfSigned())).port)
    expect(statSync(file('own.pem')).mode & 0o777).toBe(0o600)
    expect(await shown((await start(selfSigned())).port)).toBe(first)
  })

  test('that others could read is closed, and its owner is told', async () => {
    const first = await shown((await start(selfSigned())).port)
    chmodSync(file('own.pem'), 0o644)
    const { port, lines } = await start(selfSigned())
    expect(statSync(file('own.pem')).mode & 0o777).toBe(0o600)
    expect(lines.join()).toContain('could read the key of the self-signed certificate')
    expect(await shown(port)).toBe(first)
    expect((await start(selfSigned())).lines).toEqual([])
  })

  test.each([
    { allowHosts: ['gpu.lan'] },
    { allowHosts: ['my_gpu', '[2001:db8::1]'] },
    { publicUrl: 'https://gpu.example.com:8443' },
    { listen: '127.0.0.1,127.0.0.5' },
  ])('is the same after a restart for the same names: %o', async (names) => {
    await start({ ...selfSigned(), ...names })
    const first = readFileSync(file('own.pem'), 'utf8')
    await start({ ...selfSigned(), ...names })
    expect(readFileSync(file('own.pem'), 'utf8')).toBe(first)
  })

  test('is good for localhost, the addresses listened on and --allow-host, by a client that trusts it', async () => {
    const { port } = await start({ ...selfSigned(), allowHosts: ['gpu.lan'], listen: '127.0.0.1,127.0.0.5' })
    const ca = readFileSync(file('own.pem'))
    for (const servername of ['localhost', 'gpu.lan', undefined]) {
      const name = servername === undefined ? {} : { servername }
      expect(await shown(port, { ca, rejectUnauthorized: true, ...name })).not.toBe('')
    }
    expect(new X509Certificate(ca).checkIP('127.0.0.5')).toBe('127.0.0.5')
    await expect(shown(port, { ca, rejectUnauthorized: true, servername: 'other.lan' })).rejects.toThrow('altnames')
  })

  test('is made anew before it runs out, for a new name, and where its file is damaged', async () => {
    const first = await shown((await start(selfSigned())).port)
    const named = await shown((await start({ ...selfSigned(), allowHosts: ['gpu.lan'] })).port)
    expect(named).not.toBe(first)
    const old = { commonName: 'x', names: ['127.0.0.1'], nowMs: Date.now() - 800 * 86_400_000 }
    for (const text of [makeCertificate(old), readFileSync(file('own.pem'), 'utf8').slice(0, 300)]) {
      write('own.pem', text)
      const renewed = await shown((await start(selfSigned())).port)
      expect([named, first]).not.toContain(renewed)
      expect(Date.parse(new X509Certificate(readFileSync(file('own.pem'))).validTo)).toBeGreaterThan(Date.now() + 7e10)
    }
  })
})

describe('an https upstream', () => {
  async function secureUpstream(pem: string): Promise<number> {
    const server = createServer({ cert: pem, key: pem }, (_request, response) => response.end('{"secure":true}'))
    server.on('upgrade', (incoming, socket) => {
      socket.on('error', () => {})
      socket.end(`HTTP/1.1 418 Teapot\r\nX-Host: ${incoming.headers.host}\r\nContent-Length: 0\r\n\r\n`)
    })
    closers.push(() => {
      server.close()
      server.closeAllConnections()
    })
    return portOf(server)
  }

  const headers = { Authorization: `Bearer ${ADMIN}` }

  test('with a self-signed certificate is refused, and the owner is told what to do', async () => {
    const port = await secureUpstream(testCertificate())
    const proxy = closing(await startProxy(`https://127.0.0.1:${port}`))
    expect((await fetch(`${proxy.url}/queue`, { headers })).status).toBe(503)
    expect(proxy.lines.join()).toContain('its certificate is self-signed: name it with --upstream-ca')
  })

  test.each(['127.0.0.1', 'localhost'])(
    'is served under %s where --upstream-ca names its certificate',
    async (name) => {
      const pem = testCertificate()
      const port = await secureUpstream(pem)
      const upstreamCa = write('ca.pem', pem)
      const proxy = closing(await startProxy(`https://${name}:${port}`, { upstreamCa }))
      expect(await (await fetch(`${proxy.url}/queue`, { headers })).json()).toEqual({ secure: true })
      const socket = new WebSocket(`ws://127.0.0.1:${proxy.port}/ws`, { headers })
      socket.on('error', () => {})
      const [, answer] = await once(socket, 'unexpected-response')
      expect([answer.statusCode, answer.headers['x-host']]).toEqual([418, `${name}:${port}`])
    },
  )

  const mine = testCertificate()
  const renamed = testCertificate(['gpu.lan'])
  test.each([
    ['that is not the one of --upstream-ca', mine, testCertificate(), 'is not vouched for by --upstream-ca'],
    ['that is of another name than the one of --upstream-ca', mine, renamed, 'is not vouched for by --upstream-ca'],
    ['that has another name than --upstream', renamed, renamed, 'is for another name than --upstream has'],
  ])('%s is refused, and the owner is told so', async (_what, shownPem, ca, reason) => {
    const port = await secureUpstream(shownPem)
    const proxy = closing(await startProxy(`https://127.0.0.1:${port}`, { upstreamCa: write('ca.pem', ca) }))
    expect((await fetch(`${proxy.url}/queue`, { headers })).status).toBe(503)
    expect(proxy.lines.join()).toContain(`its certificate ${reason}`)
    expect(proxy.lines.join()).not.toContain('name it with')
  })

  test('is what --upstream-ca is for, and a certificate is what it holds', async () => {
    await expect(startProxy('http://127.0.0.1:1', { upstreamCa: 'x' })).rejects.toThrow('https://')
    const upstreamCa = write('ca.pem', 'hello')
    await expect(startProxy('https://127.0.0.1:1', { upstreamCa })).rejects.toThrow('holds no certificate')
  })
})
