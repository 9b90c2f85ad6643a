import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { connect } from 'node:tls'
import { expect, onTestFinished, test } from 'vitest'
import { runCli, startCli, temporaryFolder } from '../support/cli.ts'
import { follow } from '../support/follow.ts'
import { testCertificate } from '../support/http2.ts'

/** Nothing listens there: serve waits for it. */
const UPSTREAM = 'http://127.0.0.1:1'

async function serving(args: readonly string[], home: string) {
  const child = startCli(['serve', '--port', '0', '--upstream', UPSTREAM, ...args], {
    home,
    env: { COMFYUI_API_KEY: 'a-key-of-this-test' },
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  const { says, output } = follow(child)
  const [, port] = /https:\/\/127\.0\.0\.1:(\d+)\/auth_login/.exec(await says(/Keys: .*\n/))!
  return { child, port: Number(port), output }
}

async function shown(port: number): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false })
  await once(socket, 'secureConnect')
  const { fingerprint256 } = socket.getPeerX509Certificate()!
  socket.destroy()
  return fingerprint256
}

test('serve --tls-self-signed shows an https URL and the fingerprint of what it keeps, 0600', async () => {
  const home = temporaryFolder()
  const { port, output } = await serving(['--tls-self-signed'], home)
  const fingerprint = await shown(port)
  await expect.poll(output).toContain(fingerprint)
  const kept = join(home, 'tls-self-signed.pem')
  expect(new X509Certificate(readFileSync(kept)).fingerprint256).toBe(fingerprint)
  expect(statSync(kept).mode & 0o777).toBe(0o600)
})

test('serve with a certificate reads it again on SIGHUP', async () => {
  const home = temporaryFolder()
  const file = join(home, 'pair.pem')
  writeFileSync(file, testCertificate(), { mode: 0o600 })
  const { child, port, output } = await serving(['--tls-certfile', file, '--tls-keyfile', file], home)
  const next = testCertificate()
  writeFileSync(file, next)
  child.kill('SIGHUP')
  await expect.poll(output, { timeout: 5_000 }).toContain('The certificate was read again')
  expect(await shown(port)).toBe(new X509Certificate(next).fingerprint256)
})

test.each([
  [['--tls-certfile', 'a.pem'], 'TLS needs both --tls-certfile and --tls-keyfile.'],
  [['--tls-keyfile', 'a.pem'], 'TLS needs both --tls-certfile and --tls-keyfile.'],
  [['--max-upload-size', '0'], '--max-upload-size is no number of MB.'],
  [['--max-upload-size', '1e3'], '--max-upload-size is no number of MB.'],
])('serve %j exits 2', async (args, message) => {
  const { exitCode, stderr } = await runCli(['serve', '--no-auth', '--port', '0', ...args])
  expect([exitCode, stderr]).toEqual([2, expect.stringContaining(message)])
})
