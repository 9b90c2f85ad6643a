import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { createSim, type Sim } from '../../../src/sim/sim.ts'
import { certificateFiles } from '../../support/certificate.ts'
import { exchange, startProxy } from './support.ts'

let sim: Sim
let tls: ReturnType<typeof certificateFiles>
const closers: (() => unknown)[] = []

beforeAll(async () => {
  sim = await createSim()
  tls = certificateFiles()
})

afterAll(async () => {
  await sim.close()
})

afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close()
})

describe('--tls-redirect-port', () => {
  async function redirecting(options: Parameters<typeof startProxy>[1] = {}) {
    const from = await freePort()
    const proxy = await startProxy(sim.url, { tls, tlsRedirectPort: from, ...options })
    closers.push(() => proxy.close())
    const ask = async (method: string, host: string, path = '/a?b=%2F') => {
      const answer = await exchange(from, `${method} ${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`)
      expect(answer.toLowerCase()).not.toContain('strict-transport-security')
      return [Number(answer.slice(9, 12)), /^Location: (.*)\r$/m.exec(answer)?.[1]]
    }
    return { from, port: new URL(proxy.url).port, ask }
  }

  test('sends GET on to TLS with its target, and takes nothing else', async () => {
    const { from, port, ask } = await redirecting({ hsts: true })
    expect(await ask('GET', 'localhost')).toEqual([308, `https://localhost:${port}/a?b=%2F`])
    expect(await ask('HEAD', `[::1]:${from}`)).toEqual([308, `https://[::1]:${port}/a?b=%2F`])
    expect(await ask('POST', 'localhost')).toEqual([400, undefined])
    expect(sim.requests).toEqual([])
  })

  test.each([
    ['evil.example', '/'],
    ['localhost@evil.example', '/'],
    ['a b/@evil.example', '/'],
    ['localhost\r\nHost: evil.example', '/'],
    ['', '/'],
    ['localhost', '//evil.example/'],
    ['localhost', 'http://evil.example/'],
    ['localhost', '*'],
  ])('sends nobody to another place: Host %j, target %j', async (host, path) => {
    const { ask } = await redirecting()
    expect(await ask('GET', host, path)).toEqual([400, undefined])
  })

  test('sends on to --public-url, from names of ours alone', async () => {
    const { ask } = await redirecting({ publicUrl: 'https://gpu.example', allowHosts: ['gpu.lan'] })
    for (const host of ['gpu.example', 'gpu.lan', '127.0.0.1']) {
      expect(await ask('GET', host)).toEqual([308, 'https://gpu.example/a?b=%2F'])
    }
    expect(await ask('GET', 'evil.example')).toEqual([400, undefined])
  })
})

async function freePort(): Promise<number> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
