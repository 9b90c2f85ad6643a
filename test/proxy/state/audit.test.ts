import { readFileSync, renameSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test, vi } from 'vitest'
import { makeKey } from '../../../src/keys/format.ts'
import { type AuditEntry, createAudit } from '../../../src/proxy/state/audit.ts'
import { openLineFile } from '../../../src/proxy/state/line-file.ts'
import { temporaryFolder } from '../../support/cli.ts'

const linesOf = (path: string) =>
  readFileSync(path, 'utf8')
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line))

function audit() {
  const path = join(temporaryFolder(), 'audit.log')
  const log = createAudit({ audit: openLineFile({ path, name: 'The log' }) })
  return { path, log, lines: () => linesOf(path) }
}

const request: AuditEntry = {
  nowMs: Date.UTC(2026, 0, 2, 3, 4, 5, 6),
  event: 'request',
  client: '192.0.2.1',
  key: { keyId: 'k1', label: 'alice' },
  method: 'POST',
  target: '/prompt?token=secret-in-query',
  status: 200,
  bytes: 12,
  durationMs: Math.PI,
}

test('refusals that are only counted are told of within a second or so, though nothing more comes', async () => {
  const { log, lines } = audit()
  const refused: AuditEntry = {
    nowMs: request.nowMs,
    event: 'refusal',
    client: '192.0.2.1',
    method: 'GET',
    status: 401,
  }
  for (let i = 0; i < 15; i++) log.record(refused)
  const counted = { event: 'refusals-not-shown', count: 5, time: '2026-01-02T03:04:06.000Z' }
  await vi.waitFor(() => expect(lines()[10]).toMatchObject(counted), 5_000)
  await log.close()
  expect(lines()).toHaveLength(11)
})

test('a write request is one line with who, what and how it ended, without its query', async () => {
  const { path, log, lines } = audit()
  log.record(request)
  await log.close()
  expect(lines()).toEqual([
    {
      time: '2026-01-02T03:04:05.006Z',
      event: 'request',
      client: '192.0.2.1',
      key: 'k1',
      label: 'alice',
      method: 'POST',
      path: '/prompt',
      status: 200,
      bytes: 12,
      ms: 3.1,
    },
  ])
  expect(statSync(path).mode & 0o777).toBe(0o600)
})

describe('the access log', () => {
  const events: readonly AuditEntry[] = [
    { ...request, method: 'GET' },
    request,
    { ...request, event: 'refusal' },
    { ...request, event: 'login' },
    { nowMs: 0, event: 'revocation', key: request.key },
    { nowMs: 0, event: 'session-end', key: request.key },
  ]

  test('has every request, reads too, and the audit log beside it what rule 16 names', async () => {
    const folder = temporaryFolder()
    const [audited, asked] = [join(folder, 'audit.log'), join(folder, 'access.log')]
    const log = createAudit({
      audit: openLineFile({ path: audited, name: 'One' }),
      access: openLineFile({ path: asked, name: 'Other' }),
    })
    for (const event of events) log.record(event)
    await log.close()
    const shown = (path: string) => linesOf(path).map(({ event, method }) => `${event} ${method ?? '-'}`)
    expect(shown(audited)).toEqual(['request POST', 'refusal POST', 'login POST', 'revocation -', 'session-end -'])
    expect(shown(asked)).toEqual(['request GET', 'request POST', 'refusal POST', 'login POST'])
    expect(statSync(asked).mode & 0o777).toBe(0o600)
  })

  test('alone has no revocations', async () => {
    const path = join(temporaryFolder(), 'access.log')
    const log = createAudit({ access: openLineFile({ path, name: 'The log' }) })
    for (const event of events) log.record(event)
    await log.close()
    expect(linesOf(path).map(({ event }) => event)).toEqual(['request', 'request', 'refusal', 'login'])
  })

  test('in one file with the audit log has each line once', async () => {
    const path = join(temporaryFolder(), 'both.log')
    const file = openLineFile({ path, name: 'The log' })
    const log = createAudit({ audit: file, access: file })
    for (const event of events) log.record(event)
    await log.close()
    expect(linesOf(path).map(({ event }) => event)).toEqual(events.map(({ event }) => event))
  })
})

test('a path is cut at 256 characters, holds no key of ours and cannot begin a line of its own', async () => {
  const { log, lines } = audit()
  const key = makeKey()
  log.record({ ...request, target: `/${'x'.repeat(300)}` })
  log.record({ ...request, target: `/a/${key}/b#${key}` })
  log.record({ ...request, target: '/a\n{"event":"login"}' })
  log.record({ ...request, target: `http://user:${key}@host/` })
  await log.close()
  const paths = lines().map(({ path }) => path)
  expect(paths[0]).toHaveLength(256)
  expect(paths.slice(1)).toEqual(['/a/comfy_[redacted]/b', '/a\n{"event":"login"}', '(no path)'])
})

test.each([makeKey(), `comfys_${'a1B2'.repeat(10)}xyz`, `comfyt_${'Z9y8'.repeat(10)}xyz`])(
  'a path in which %s is encoded or taken apart says only that it holds a key',
  async (secret) => {
    const { log, lines } = audit()
    const at = (i: number, write: (character: string) => string) =>
      `${secret.slice(0, i)}${write(secret[i]!)}${secret.slice(i + 1)}`
    const percent = (character: string) => `%${character.charCodeAt(0).toString(16)}`
    const hidden = [
      at(secret.indexOf('_'), percent),
      at(5, percent),
      at(2, percent),
      at(10, percent),
      at(20, percent),
      [...secret].map(percent).join(''),
      at(3, (character) => percent(character).replace('%', '%2525')),
      `${secret.slice(0, 20)}/${secret.slice(20)}`,
      `${secret.slice(0, 3)}/${secret.slice(3)}`,
      at(3, (character) => `/%2F${percent(character)}`),
    ]
    for (const path of hidden) log.record({ ...request, target: `/view/${path}/x?y` })
    await log.close()
    expect(lines().map(({ path }) => path)).toEqual(hidden.map(() => '(a key)'))
  },
)

test('a path that is only encoded is written as it came', async () => {
  const { log, lines } = audit()
  const paths = [
    '/userdata/workflows%2Fmy%20comfy%255Fui.json',
    '/100%',
    '/comfy_ui/a/b%zz',
    '/%e4%bd%a0',
    '/a%2525b',
    '/comfy_ui%20x/y',
  ]
  for (const target of paths) log.record({ ...request, target })
  await log.close()
  expect(lines().map(({ path }) => path)).toEqual(paths)
})

test('a method that HTTP does not know is not repeated: over HTTP/2 it may be a key', async () => {
  const { log, lines } = audit()
  for (const method of ['M-SEARCH', makeKey(), 'get', '']) log.record({ ...request, method })
  await log.close()
  expect(lines().map(({ method }) => method)).toEqual(['M-SEARCH', '(no method)', '(no method)', '(no method)'])
})

test('of a flood of refusals without a principal ten a second are written and the rest counted', async () => {
  const { log, lines } = audit()
  const refusal: AuditEntry = { nowMs: 0, event: 'refusal', client: 'c', status: 401, reason: 'no-credential' }
  for (let i = 0; i < 500; i++) log.record({ ...refusal, nowMs: i })
  log.record({ ...refusal, nowMs: 10, key: { keyId: 'k1', label: undefined }, reason: 'role' })
  log.record({ ...refusal, nowMs: 1_500 })
  await log.close()
  expect(lines().filter(({ reason }) => reason === 'no-credential')).toHaveLength(11)
  expect(lines().filter(({ reason }) => reason === 'role')).toHaveLength(1)
  expect(lines().find(({ event }) => event === 'refusals-not-shown')).toMatchObject({ count: 490 })
})

test('after logrotate moved the file away, a re-open goes on in a new one and loses nothing', async () => {
  const { path, log, lines } = audit()
  log.record({ ...request, status: 201 })
  await expect.poll(() => statSync(path).size).toBeGreaterThan(0)
  renameSync(path, `${path}.old`)
  log.reopen()
  log.record({ ...request, status: 202 })
  await log.close()
  expect(lines().map(({ status }) => status)).toEqual([202])
  expect(JSON.parse(readFileSync(`${path}.old`, 'utf8')).status).toBe(201)
})
