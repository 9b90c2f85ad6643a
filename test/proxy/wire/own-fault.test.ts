import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { temporaryFolder } from '../../support/cli.ts'
import { ADMIN, exchange, get, proxied, type RawUpstream, type TestProxy, testKeys } from './support.ts'

const BROKEN = 'the keyring came apart'

/** A proxy of whose keys none can be looked up once it is broken, and its audit log. */
async function serve(): Promise<{ proxy: TestProxy; upstream: RawUpstream; break: () => void; told: () => unknown[] }> {
  const auditLog = join(temporaryFolder(), 'audit.log')
  const whole = testKeys()
  let isBroken = false
  const find: typeof whole.find = (digest) => {
    if (isBroken) throw new Error(BROKEN)
    return whole.find(digest)
  }
  const { upstream, proxy } = await proxied(
    ({ socket }) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'),
    { keys: { ...whole, find }, auditLog },
  )
  return {
    proxy,
    upstream,
    break: () => {
      isBroken = !isBroken
    },
    told: () =>
      readFileSync(auditLog, 'utf8')
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line)),
  }
}

const form = `api_key=${ADMIN}`
const login = `POST /auth_login.html HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: ${form.length}\r\n\r\n${form}`

test.each([
  [
    'of a request',
    'POST',
    '/prompt',
    'POST /prompt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n',
  ],
  ['of a login', 'POST', '/auth_login.html', login],
])(
  'a fault of ours in the middle %s is a 500 with a line in both logs, and the next one is served',
  async (_, method, path, sent) => {
    const { proxy, upstream, break: breakKeys, told } = await serve()
    breakKeys()
    const request = sent === login ? login : `${sent}X-API-Key: ${ADMIN}\r\n\r\n`
    expect(await exchange(proxy.port, request)).toMatch(/^HTTP\/1\.1 500 /)
    expect(upstream.requests).toHaveLength(0)
    breakKeys()
    expect(await exchange(proxy.port, get('/prompt', 'Connection: close\r\n'))).toMatch(/^HTTP\/1\.1 200 /)
    expect(proxy.lines.filter((line) => line.includes(BROKEN))).toHaveLength(1)
    await vi.waitFor(() => expect(told()).toHaveLength(1))
    expect(told()).toContainEqual(
      expect.objectContaining({ event: 'request', method, path, status: 500, reason: 'fault', client: '127.0.0.1' }),
    )
  },
)
