import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { openServeDb } from '../../../src/proxy/state/db.ts'
import { temporaryFolder } from '../../support/cli.ts'
import { closing } from '../../support/closers.ts'
import { ADMIN, exchange, get, proxied, type RawUpstream, type TestProxy, testKeys, USER } from './support.ts'

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

test('a database that cannot be read: a prompt is answered, and nobody may stop it but an admin', async () => {
  const serveDb = join(temporaryFolder(), 'serve.db')
  const taken = JSON.stringify({ prompt_id: 'mine', number: 1, node_errors: {} })
  const { upstream, proxy } = await proxied(
    ({ socket }) =>
      socket.end(`HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: ${taken.length}\r\n\r\n${taken}`),
    { serveDb },
  )
  const post = (key: string, path: string, body: object) => {
    const text = JSON.stringify(body)
    const head = `POST ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-API-Key: ${key}\r\nContent-Type: application/json`
    return exchange(proxy.port, `${head}\r\nContent-Length: ${text.length}\r\n\r\n${text}`)
  }
  closing(openServeDb(serveDb)).exec('ALTER TABLE prompt_owners RENAME TO elsewhere')
  for (const body of [{ prompt: {} }, { prompt: {}, prompt_id: 'mine' }]) {
    expect(await post(USER, '/prompt', body)).toMatch(/^HTTP\/1\.1 200 [\s\S]*"mine"/)
  }
  const before = upstream.requests.length
  for (const [path, body] of [
    ['/interrupt', { prompt_id: 'mine' }],
    ['/interrupt', { prompt_id: 'other' }],
    ['/queue', { delete: ['other'] }],
    ['/api/jobs/other/cancel', {}],
    ['/api/jobs/cancel', { job_ids: ['other'] }],
  ] as const) {
    expect(await post(USER, path, body)).toMatch(/^HTTP\/1\.1 403 /)
  }
  expect(upstream.requests).toHaveLength(before)
  expect(await post(ADMIN, '/interrupt', { prompt_id: 'mine' })).toMatch(/^HTTP\/1\.1 200 /)
  expect(proxy.lines.filter((line) => line.includes('no such table')).map((line) => line.split(':')[0])).toEqual([
    'Prompt owners cannot be read',
    'Prompt owners cannot be written',
  ])
})
