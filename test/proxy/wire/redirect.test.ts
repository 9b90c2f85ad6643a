import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createSim, type Sim } from '../../../src/sim/sim.ts'
import { certificateFiles } from '../../support/certificate.ts'
import { closing } from '../../support/closers.ts'
import { freePort } from '../../support/ports.ts'
import { exchange, startProxy } from './support.ts'

let sim: Sim
let tls: ReturnType<typeof certificateFiles>

beforeAll(async () => {
  sim = await createSim()
  tls = certificateFiles()
})

afterAll(async () => {
  await sim.close()
})

describe('--tls-redirect-port', () => {
  async function redirecting(options: Parameters<typeof startProxy>[1] = {}) {
    const from = await freePort()
    const proxy = closing(await startProxy(sim.url, { tls, tlsRedirectPort: from, ...options }))
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

  test('that is in use ends the start, and the flag to change is named', async () => {
    const tlsRedirectPort = Number(new URL(sim.url).port)
    await expect(startProxy(sim.url, { tls, tlsRedirectPort })).rejects.toMatchObject({
      kind: 'usage',
      message: 'The port of --tls-redirect-port is in use.',
      remedy: 'Stop what listens there, or choose another with --tls-redirect-port.',
    })
  })
})
