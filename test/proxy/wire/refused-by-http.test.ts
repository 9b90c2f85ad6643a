import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { certificateFiles } from '../../support/certificate.ts'
import { temporaryFolder } from '../../support/cli.ts'
import { closing } from '../../support/closers.ts'
import { client2 } from '../../support/http2.ts'
import { ADMIN, exchange, get, proxied } from './support.ts'

const key = `X-API-Key: ${ADMIN}\r\n`

test.each([
  ['a broken head', 400, 'GET /prompt HTTP/1.1\r\nHost : localhost\r\n\r\n', '(no method)', '(no path)'],
  [
    'two framings, a smuggler’s',
    400,
    `POST /prompt HTTP/1.1\r\nHost: localhost\r\n${key}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    '(no method)',
    '(no path)',
  ],
  ['CONNECT', 400, 'CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n', 'CONNECT', '(no path)'],
  ['too many fields', 431, get('/queue?api_key=secret', 'a:b\r\n'.repeat(1_023)), 'GET', '/queue'],
  ['a foreign expectation', 417, get('/queue', 'Expect: a-miracle\r\n'), 'GET', '/queue'],
])('%s, which HTTP itself refuses, stands in the audit log', async (_what, status, sent, method, path) => {
  const auditLog = join(temporaryFolder(), 'audit.log')
  const { proxy, upstream } = await proxied(() => {}, { auditLog })
  expect(await exchange(proxy.port, sent)).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `))
  await vi.waitFor(() => expect(readFileSync(auditLog, 'utf8')).toMatch(/\n$/))
  const line = JSON.parse(readFileSync(auditLog, 'utf8'))
  expect(line).toMatchObject({ event: 'refusal', client: '127.0.0.1', method, path, status, reason: 'protocol' })
  expect(upstream.requests).toHaveLength(0)
})

test('over HTTP/2 too', async () => {
  const auditLog = join(temporaryFolder(), 'audit.log')
  const { proxy } = await proxied(() => {}, { auditLog, tls: certificateFiles() })
  const client = closing(await client2(proxy.port))
  expect((await client.ask('GET', '/queue', { expect: 'a-miracle' })).status).toBe(417)
  await vi.waitFor(() => expect(readFileSync(auditLog, 'utf8')).toMatch(/\n$/))
  const line = JSON.parse(readFileSync(auditLog, 'utf8'))
  expect(line).toMatchObject({ event: 'refusal', client: '127.0.0.1', method: 'GET', path: '/queue', status: 417 })
})
