import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import WebSocket from 'ws'
import { createSim, type Sim } from '../src/sim/sim.ts'
import { startCli, temporaryFolder } from './support/cli.ts'

// The uses that the ComfyUI API Authentication Guide shows, each against `serve` before a simulated ComfyUI, and judged by
// what that ComfyUI saw. `python3 main.py` is `comfy-auth serve` here, and 8188 the port it listens on.

const KEY = 'your-secure-api-key-here'
const run = promisify(execFile)
let cwd: string
let sim: Sim

/** Runs a line of the guide's in the folder where the key file is. */
async function sh(line: string): Promise<string> {
  return (await run('sh', ['-c', line], { cwd })).stdout
}

/** What reached ComfyUI, but for what `serve` asks by itself. */
function seen(path: string): { target: string; headers: readonly string[] }[] {
  return sim.requests.filter(({ target }) => target.split('?')[0] === path)
}

async function serve(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<string> {
  const child = startCli(['serve', '--upstream', sim.url, '--port', '0', ...args], { cwd, env })
  onTestFinished(() => void child.kill('SIGKILL'))
  let output = ''
  for await (const text of child.stdout.setEncoding('utf8').iterator({ destroyOnReturn: false })) {
    output += text
    const url = /^(?:Scripts: |Open to everyone who reaches )(http:\/\/[\w.:]+\d)/m.exec(output)?.[1]
    if (url) {
      sim.clearRequests()
      return url
    }
  }
  throw new Error(`serve ended: ${output}`)
}

beforeEach(async () => {
  cwd = temporaryFolder()
  sim = await createSim()
  onTestFinished(() => sim.close())
  await sh(`echo "${KEY}" > api_key.txt`)
})

describe('starting it', () => {
  test.each([
    ['--api-key KEY', ['--api-key', KEY], {}],
    ['--api-key-file api_key.txt', ['--api-key-file', 'api_key.txt'], {}],
    ['COMFYUI_API_KEY', [], { COMFYUI_API_KEY: KEY }],
  ])('by %s', async (_how, args, env) => {
    const url = await serve(args, env)
    expect(await sh(`curl -s -o /dev/null -w '%{http_code}' ${url}/prompt`)).toBe('401')
    expect(seen('/prompt')).toEqual([])
    expect(await sh(`curl -s -H "Authorization: Bearer ${KEY}" ${url}/prompt`)).toContain('queue_remaining')
    expect(seen('/prompt')).toHaveLength(1)
  })

  test('with a key that openssl rand -base64 32 made, in a file of mode 600, over every carrier', async () => {
    await sh('openssl rand -base64 32 > api_key.txt && chmod 600 api_key.txt')
    const url = await serve(['--api-key-file', 'api_key.txt'])
    for (const line of [
      `curl -s -H "Authorization: Bearer $(cat api_key.txt)" ${url}/prompt`,
      `curl -s -H "X-API-Key: $(cat api_key.txt)" ${url}/prompt`,
      `curl -s "${url}/prompt?api_key=$(cat api_key.txt)"`,
    ]) {
      expect(await sh(line)).toContain('queue_remaining')
    }
  })

  test("without a key: open, on the owner's word", async () => {
    const url = await serve(['--no-auth'])
    expect(await sh(`curl -s ${url}/prompt`)).toContain('queue_remaining')
  })
})

describe('with api_key.txt', () => {
  let url: string
  beforeEach(async () => {
    url = await serve(['--api-key-file', 'api_key.txt'])
  })

  test('the three ways to authenticate reach ComfyUI, without the key', async () => {
    await sh(`curl -sf -H "Authorization: Bearer ${KEY}" ${url}/prompt`)
    await sh(`curl -sf -H "X-API-Key: ${KEY}" ${url}/prompt`)
    await sh(`curl -sf "${url}/prompt?api_key=${KEY}"`)
    expect(seen('/prompt').map(({ target }) => target)).toEqual(['/prompt', '/prompt', '/prompt'])
    expect(JSON.stringify(sim.requests)).not.toContain(KEY)
  })

  test('the Python example, by the library that every Python has', async () => {
    const script = `
import json, urllib.request
API_KEY, BASE_URL = "${KEY}", "${url}"
def get(url, headers={}):
    return json.load(urllib.request.urlopen(urllib.request.Request(url, headers=headers)))
print(json.dumps([
    get(f"{BASE_URL}/queue", {"Authorization": f"Bearer {API_KEY}"}),
    get(f"{BASE_URL}/queue", {"X-API-Key": API_KEY}),
    get(f"{BASE_URL}/queue?api_key={API_KEY}"),
]))`
    const { stdout } = await run('python3', ['-c', script])
    expect(JSON.parse(stdout)).toEqual(Array(3).fill({ queue_running: [], queue_pending: [] }))
    expect(seen('/queue').map(({ target }) => target)).toEqual(['/queue', '/queue', '/queue'])
  })

  test('the JavaScript example', async () => {
    const data = await fetch(`${url}/queue`, { headers: { Authorization: `Bearer ${KEY}` } }).then((response) =>
      response.json(),
    )
    expect(data).toEqual({ queue_running: [], queue_pending: [] })
  })

  test('/health needs no key and has the members of the example, in its order', async () => {
    const health = JSON.parse(await sh(`curl -s ${url}/health`))
    const shape = Object.entries(health).map(([name, value]) => [
      name,
      typeof value === 'object' ? Object.keys(value!) : value,
    ])
    expect(shape).toEqual([
      ['status', 'ok'],
      ['queue', ['pending', 'running']],
      ['device', ['name', 'type']],
      ['vram', ['total', 'free']],
    ])
    expect(health.queue).toEqual({ pending: 0, running: 0 })
  })

  test('a wrong key is a 401 with error and message', async () => {
    const response = await fetch(`${url}/queue`, { headers: { 'X-API-Key': 'not-the-key' } })
    expect(response.status).toBe(401)
    expect(await response.json()).toEqual({ error: 'Unauthorized', message: expect.any(String) })
    expect(seen('/queue')).toEqual([])
  })

  test('a browser gets the login page, logs in, works by its session, and is out after the logout', async () => {
    const navigation = {
      Accept: 'text/html',
      'Sec-Fetch-Mode': 'navigate',
      'Sec-Fetch-Dest': 'document',
      'Sec-Fetch-Site': 'none',
    }
    const first = await fetch(url, { headers: navigation })
    expect(first.headers.get('content-type')).toContain('text/html')
    expect(await first.text()).toContain('name="remember"')
    expect(seen('/')).toEqual([])

    const enter = (key: string, remember: Record<string, string>) =>
      fetch(`${url}/auth_login.html`, {
        method: 'POST',
        redirect: 'manual',
        body: new URLSearchParams({ api_key: key, ...remember }),
      })
    expect((await enter('not-the-key', {})).status).toBe(401)
    const [kept, passing] = [await enter(KEY, { remember: '1' }), await enter(KEY, {})]
    expect(kept.headers.get('set-cookie')).toMatch(/HttpOnly.*Max-Age=\d+|Max-Age=\d+.*HttpOnly/)
    expect(passing.headers.get('set-cookie')).not.toContain('Max-Age')

    const cookie = passing.headers.get('set-cookie')!.split(';')[0]!
    const index = await (await fetch(url, { headers: { ...navigation, Cookie: cookie } })).text()
    expect(index).toContain('auth_inject.js')
    expect((await fetch(`${url}/auth_inject.js`)).headers.get('content-type')).toContain('javascript')

    const logout = await fetch(`${url}/auth_login.html?logout=true`, { headers: { Cookie: cookie } })
    expect(await logout.text()).toContain('/auth_logout')
    const own = { Cookie: cookie, Origin: url, 'Sec-Fetch-Site': 'same-origin' }
    expect(
      (await fetch(`${url}/auth_logout`, { method: 'POST', headers: own, redirect: 'manual' })).status,
    ).toBeLessThan(400)
    expect((await fetch(`${url}/queue`, { headers: { Cookie: cookie } })).status).toBe(401)
  })

  test("what the guide leaves open is open in the page's own folders, and nowhere else", async () => {
    for (const path of ['/assets/index.js', '/extensions/core/clip.js', '/docs/en/a.html', '/templates/index.json']) {
      expect((await fetch(url + path)).status, path).not.toBe(401)
      expect(seen(path), path).toHaveLength(1)
    }
    for (const path of ['/userdata/x.json', '/api/userdata/x.png', '/view.png', '/extensions/a/secrets.json', '/ws']) {
      expect((await fetch(url + path)).status, path).toBe(401)
      expect(seen(path), path).toEqual([])
    }
  })
})

test("the docs' line of --exempt-path opens the guide's named paths", async () => {
  const page = readFileSync(join(import.meta.dirname, '../docs/guide-differences.md'), 'utf8')
  const line = /^comfy-auth serve (--exempt-path .*)$/m.exec(page)![1]!
  const words = (await sh(`printf '%s\\n' ${line}`)).trimEnd().split('\n')
  const url = await serve(['--api-key-file', 'api_key.txt', ...words])
  for (const path of ['/extensions/a/secrets.json', '/templates/a', '/docs/a']) {
    expect((await fetch(url + path)).status, path).not.toBe(401)
    expect(seen(path), path).toHaveLength(1)
  }
  const socket = new WebSocket(`${url.replace('http', 'ws')}/ws`)
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject))
  socket.terminate()
  expect(seen('/ws')[0]).toMatchObject({ upgrade: true })
  expect((await fetch(`${url}/userdata/x.json`)).status).toBe(401)
})
