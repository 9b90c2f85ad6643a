import { afterEach, describe, expect, test } from 'vitest'
import { type Fake, type Route, startFake } from '../comfy/fake.ts'
import { runCli, temporaryFolder } from '../support/cli.ts'

const WORKFLOW = `${import.meta.dirname}/../../examples/empty-image.json`

let fake: Fake | undefined

afterEach(() => fake?.close())

const status =
  (code: number): Route =>
  (_request, _body, response) =>
    void response.writeHead(code).end()

describe.each([
  ['500 to everything', { 'GET /': status(500), 'POST /': status(500) }],
  ['a server of static files', { 'GET /': status(404), 'POST /': status(501) }],
  ['a ComfyUI without a device', { 'GET /': () => ({ system: {}, devices: [] }), 'POST /': () => ({}) }],
])('%s is not a ComfyUI', (_name, routes) => {
  test.each([
    ['login', (url: string) => ['login', url, '--key-stdin']],
    ['whoami', (url: string) => ['whoami', '--url', url]],
    ['submit', (url: string) => ['submit', WORKFLOW, '--url', url]],
  ])('to %s: 5, and nothing is sent', async (_command, args) => {
    fake = await startFake(routes)
    const result = await runCli(args(fake.url), { cwd: temporaryFolder(), stdin: 'a key of 8 or more' })
    expect(result).toEqual({ stdout: '', stderr: expect.stringContaining('is not a ComfyUI'), exitCode: 5 })
    expect(fake.requests.filter((request) => !request.startsWith('GET'))).toEqual([])
  })
})

test('no control character of a server reaches the terminal', async () => {
  const evil = '\u001b[31mX\u0007\u009b\n\nFAKE'
  const stats = { system: { comfyui_version: evil }, devices: [{ name: evil, type: 'cpu' }] }
  fake = await startFake({ 'GET /system_stats': () => stats, 'GET /prompt': () => ({}) })
  for (const args of [
    ['login', fake.url],
    ['whoami', '--url', fake.url],
    ['health', '--url', fake.url, '--no-local'],
  ]) {
    const { stdout, stderr, exitCode } = await runCli(args)
    expect([args[0], exitCode]).toEqual([args[0], 0])
    expect((stdout + stderr).replaceAll('\n', '')).not.toMatch(/\p{Cc}/u)
    expect(stdout).not.toMatch(/^FAKE/m)
  }
})
