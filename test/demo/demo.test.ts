import { execFile, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { expect, onTestFinished, test } from 'vitest'
import { runCli, startCli, temporaryFolder } from '../support/cli.ts'
import { portOf } from '../support/ports.ts'

const PNG = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])
const pictures = (folder: string): string[] => readdirSync(folder).filter((name) => name.endsWith('.png'))

/** What the demo left in its place for temporary folders; Node's own cache is not the demo's. */
const leftovers = (temp: string): string[] => readdirSync(temp).filter((name) => name !== 'node-compile-cache')

/** A folder to stand in, a comfy-auth home, and a place for temporary folders that a test can look into. */
function place() {
  const cwd = temporaryFolder()
  const [home, temp] = [join(cwd, 'home'), join(cwd, 'temp')]
  mkdirSync(temp)
  return { cwd, home, temp, options: { cwd, home, env: { TMPDIR: temp, TEMP: temp } } }
}

/** Starts the demo and waits until it serves. */
async function serving(args: readonly string[], marker: string) {
  const { options, ...where } = place()
  const child = startCli(['demo', ...args], options)
  onTestFinished(() => void child.kill('SIGKILL'))
  let stdout = ''
  child.stdout.setEncoding('utf8')
  for await (const text of child.stdout.iterator({ destroyOnReturn: false })) {
    stdout += text
    if (stdout.includes(marker)) break
  }
  const end = async (): Promise<unknown> => {
    child.stdout.on('data', (text: string) => (stdout += text))
    child.kill('SIGINT')
    return (await once(child, 'close'))[0]
  }
  return { ...where, end, stdout: () => stdout }
}

test('demo --once refuses the workflow without the key, saves its picture with it, and leaves nothing else behind', async () => {
  const { cwd, home, temp, options } = place()
  const { exitCode, stdout } = await runCli(['demo', '--once'], options)
  expect(exitCode).toBe(0)
  expect(stdout).toMatch(/401 \{"error":"Unauthorized","message":".*"\}/)
  const [picture, ...more] = pictures(join(cwd, 'comfy-auth-demo'))
  expect(more).toEqual([])
  expect(stdout).toContain(`Saved ${join('comfy-auth-demo', picture!)}`)
  const png = readFileSync(join(cwd, 'comfy-auth-demo', picture!))
  expect(png.subarray(0, 8)).toEqual(PNG)
  expect(png.includes('mountains above the sea at sunset')).toBe(true) // the prompt inside
  expect(existsSync(home)).toBe(false)
  expect(leftovers(temp)).toEqual([])

  expect((await runCli(['demo', '--once'], options)).exitCode).toBe(0)
  expect(readFileSync(join(cwd, 'comfy-auth-demo', picture!))).toEqual(png) // nothing is written over
})

test('the lines it prints work as they are printed, until Ctrl-C ends it with 0', async () => {
  const demo = await serving([], 'until Ctrl-C')
  const [stdout, key] = [demo.stdout(), /^A key of its own +(comfy_\w+)$/m.exec(demo.stdout())![1]!]
  const line = (start: RegExp): string => stdout.split('\n').find((text) => start.test(text))!
  const lines = [line(/^curl /), line(/^python3 /), line(/ submit /)]
  const installed = lines.filter((text) => spawnSync(text.split(' ')[0]!, ['--version']).status === 0)
  expect(installed).toContain(lines[2])
  const shell = promisify(execFile)
  const answers = new Map<string, string>()
  for (const text of installed) answers.set(text, (await shell('sh', ['-c', text], { cwd: demo.cwd })).stdout)
  if (answers.has(lines[0]!)) expect(JSON.parse(answers.get(lines[0]!)!)).toHaveProperty('system')
  if (answers.has(lines[1]!))
    expect(JSON.parse(answers.get(lines[1]!)!)).toMatchObject({ jobs: [{ status: 'completed' }] })
  expect(existsSync(resolve(demo.cwd, answers.get(lines[2]!)!.trim()))).toBe(true)
  expect(pictures(join(demo.cwd, 'comfy-auth-demo'))).toHaveLength(2)

  const login = line(/\/auth_login\.html$/)
  expect((await fetch(login)).status).toBe(200)
  const entered = await fetch(login, {
    method: 'POST',
    body: new URLSearchParams({ api_key: key }),
    redirect: 'manual',
  })
  expect(entered.status).toBe(303)
  const page = await fetch(new URL('/', login), {
    headers: { cookie: entered.headers.get('set-cookie')!.split(';')[0]! },
  })
  expect(page.status).toBe(200)

  expect(await demo.end()).toBe(0)
  expect(leftovers(demo.temp)).toEqual([])
  await expect(fetch(login)).rejects.toThrow()
})

test('--json is one document, printed while it serves', async () => {
  const demo = await serving(['--json'], '\n}\n')
  const { url, key, outputs, ...rest } = JSON.parse(demo.stdout())
  expect(rest).toMatchObject({
    schema: 1,
    refusal: { status: 401, body: { error: 'Unauthorized' }, reachedComfyUI: 0 },
  })
  expect(outputs).toHaveLength(1)
  expect(rest.try.login).toBe(`${url}/auth_login.html`)
  expect((await fetch(`${url}/prompt`, { headers: { 'x-api-key': key } })).status).toBe(200)
  expect((await fetch(`${url}/prompt`)).status).toBe(401)
  expect(await demo.end()).toBe(0)
  expect(() => JSON.parse(demo.stdout())).not.toThrow()
})

test('Ctrl-C while the picture is made ends it with 0, and leaves nothing behind', async () => {
  const { temp, options } = place()
  const child = startCli(['demo'], options)
  await once(child.stderr, 'data') // the first progress
  child.kill('SIGINT')
  child.kill('SIGINT') // as npm passes it on
  expect((await once(child, 'close'))[0]).toBe(0)
  expect(leftovers(temp)).toEqual([])
})

test('a port in use, and a folder that cannot be made, are usage errors that leave nothing behind', async () => {
  const taken = createServer()
  onTestFinished(() => void taken.close())
  const port = await portOf(taken)
  for (const args of [
    ['--port', String(port)],
    ['--output', '/dev/null/x'],
  ]) {
    const { temp, options } = place()
    const { exitCode, stderr } = await runCli(['demo', '--once', ...args], options)
    expect([exitCode, stderr.trim().split('\n').length]).toEqual([2, 2])
    expect(leftovers(temp)).toEqual([])
  }
})
