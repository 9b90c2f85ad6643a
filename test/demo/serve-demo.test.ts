import { once } from 'node:events'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { runCli, startCli, temporaryFolder } from '../support/cli.ts'

test('serve --demo guards a simulated ComfyUI with the keys of its owner, and takes it away when it ends', async () => {
  const home = temporaryFolder()
  const temp = join(home, 'temp')
  mkdirSync(temp)
  writeFileSync(join(home, 'key.txt'), 'a-key-of-the-owner\n', { mode: 0o600 })
  const args = ['serve', '--demo', '--json', '--port', '0', '--api-key-file', join(home, 'key.txt')]
  const child = startCli(args, { home, env: { TMPDIR: temp, TEMP: temp } })
  onTestFinished(() => void child.kill('SIGKILL'))
  const [line] = await once(child.stdout.setEncoding('utf8'), 'data')
  const { url, upstream } = JSON.parse(line)
  expect(upstream.state).toBe('comfyui')
  const status = async (headers: Record<string, string>) => (await fetch(`${url}/queue`, { headers })).status
  expect([await status({}), await status({ 'x-api-key': 'a-key-of-the-owner' })]).toEqual([401, 200])
  child.kill('SIGINT')
  await once(child, 'close')
  expect(readdirSync(temp).filter((name) => name !== 'node-compile-cache')).toEqual([])
})

test('serve --demo shows the frontend of --web-root in place of its own page', async () => {
  const home = temporaryFolder()
  writeFileSync(join(home, 'key.txt'), 'a-key-of-the-owner\n', { mode: 0o600 })
  writeFileSync(join(home, 'index.html'), '<!doctype html><title>A frontend</title>')
  const args = ['serve', '--demo', '--web-root', home, '--json', '--port', '0', '--api-key-file', join(home, 'key.txt')]
  const child = startCli(args, { home })
  onTestFinished(() => void child.kill('SIGKILL'))
  const [line] = await once(child.stdout.setEncoding('utf8'), 'data')
  const page = await fetch(JSON.parse(line).url, { headers: { 'x-api-key': 'a-key-of-the-owner' } })
  expect(await page.text()).toContain('<title>A frontend</title>')
})

test('serve --web-root without --demo is wrong usage', async () => {
  const { exitCode, stderr } = await runCli(['serve', '--web-root', temporaryFolder()])
  expect([exitCode, stderr]).toEqual([2, expect.stringContaining('--web-root needs --demo')])
})

test('serve --demo and --upstream cannot stand together', async () => {
  const { exitCode, stderr } = await runCli(['serve', '--demo', '--upstream', 'http://127.0.0.1:8188'])
  expect([exitCode, stderr]).toEqual([2, expect.stringContaining('--demo and --upstream')])
})
