import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createKey } from '../../src/keys/lifecycle.ts'
import { type LiveKeys, openLiveKeys } from '../../src/keys/live.ts'
import { createProxy, type Proxy as Lock } from '../../src/proxy/proxy.ts'
import { createSim, type Sim } from '../../src/sim/sim.ts'
import { runCli, startCli } from '../support/cli.ts'

const WORKFLOW = resolve('examples/empty-image.json')
const PICTURE = resolve('examples/text-to-image.json')

let root: string
let home: string
let sim: Sim
let lock: Lock
let keys: LiveKeys
let key: string

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'comfy-auth-submit-'))
  sim = await createSim({ stepMs: 1 })
  const keyring = join(root, 'server-keyring.json')
  key = (await createKey({ label: 'test', role: 'user', keyring, out: join(root, 'test.key') })).key
  keys = await openLiveKeys({ keyring, keyFiles: [], bareKeys: [] }, { watch: false })
  lock = await createProxy({ upstream: sim.url, listen: '127.0.0.1', port: 0, keys, serveDb: ':memory:', drainMs: 0 })
})

afterAll(async () => {
  await lock.close()
  keys.close()
  await sim.close()
  await rm(root, { recursive: true, force: true })
})

beforeEach(async () => {
  home = await mkdtemp(join(root, 'home-'))
  sim.clearRequests()
})

afterEach(() => {
  sim.setFaults({})
  sim.setStepMs(1)
})

interface Ran {
  readonly out: string
  readonly err: string
  readonly code: number | null
}

async function run(
  args: readonly string[],
  { env, input }: { env?: Record<string, string>; input?: string | Buffer } = {},
): Promise<Ran> {
  const given = { ...(env ? { env } : {}), ...(input === undefined ? {} : { stdin: input }) }
  const {
    stdout: out,
    stderr: err,
    exitCode: code,
  } = await runCli(args, { cwd: home, home: join(home, 'state'), ...given })
  expect(out + err).not.toContain(key) // whatever is run, the key stands in nothing that is printed
  return { out, err, code }
}

function withKey(): Record<string, string> {
  return { COMFY_AUTH_URL: lock.url, COMFYUI_API_KEY: key }
}

describe('login', () => {
  test('checks the key, stores it 0600 in 0700, and submit uses it', async () => {
    const login = await run(['login', lock.url, '--key-file', join(root, 'test.key')])
    expect(login).toEqual({
      out: expect.stringMatching(
        /^Logged in to http:\/\/127\.0\.0\.1:\d+ as profile default \(ComfyUI 0\.33\.0\)\.\n$/,
      ),
      err: '',
      code: 0,
    })
    const modes = await Promise.all(
      ['state', 'state/profiles.json'].map(async (path) => ((await stat(join(home, path))).mode & 0o777).toString(8)),
    )
    expect(modes).toEqual(['700', '600'])

    expect(await run(['submit', WORKFLOW])).toMatchObject({ out: 'ComfyUI_00001_.png\n', code: 0 })
    const whoami = JSON.parse((await run(['whoami', '--json'])).out)
    expect(whoami).toMatchObject({
      schema: 1,
      url: lock.url,
      url_from: 'profile default',
      key_from: 'profile default',
      role: 'user',
      lock: 'comfy-auth',
      key_id: null,
    })
    const listed = await run(['profiles', 'list'])
    expect(listed.out).toMatch(/^\s+NAME\s+SERVER\s+KEY\s+SAVED\n\*\s+default\s+http/)
    expect(await run(['logout'])).toEqual({ out: 'Forgot default.\n', err: '', code: 0 })
    expect(await run(['whoami', '--url', lock.url])).toMatchObject({ code: 6 })
  })

  test('a key from a pipe, under a name; another server does not take its place unasked', async () => {
    expect(await run(['login', lock.url, '--profile', 'studio', '--key-stdin'], { input: `${key}\n` })).toMatchObject({
      code: 0,
    })
    expect(await run(['login', sim.url])).toMatchObject({ code: 0, err: expect.stringContaining('without our lock') })
    const refused = await run(['login', lock.url, '--key-stdin'], { input: key })
    expect(refused).toMatchObject({ code: 2, err: expect.stringContaining('is for another server') })
    expect(await run(['profiles', 'use', 'studio'])).toMatchObject({ out: `Using profile studio: ${lock.url}\n` })
    expect(await run(['profiles', 'remove', 'default'])).toMatchObject({ out: 'Forgot default.\n' })
    const { profiles } = JSON.parse((await run(['profiles', 'list', '--json'])).out)
    expect(profiles).toMatchObject([{ name: 'studio', url: lock.url, current: true, credential: 'key' }])
  })

  test.each([
    ['a wrong key', () => [lock.url, '--key-stdin'], 'x'.repeat(20), 6, 'does not accept this key'],
    [
      'a cut key',
      () => [lock.url, '--key-stdin'],
      'comfy_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ',
      2,
      'fails its checksum',
    ],
    ['no key and no terminal', () => [lock.url], '', 2, '--key-file FILE, --key-stdin or --key-command CMD'],
    ['nobody there', () => ['http://127.0.0.1:1', '--key-stdin'], 'x'.repeat(20), 5, 'the connection was refused'],
    ['a key in the address', () => ['http://u:s3cret@h'], '', 2, 'a key must not stand in it'],
  ])('%s: nothing is stored', async (_name, args, input, code, words) => {
    const result = await run(['login', ...args()], { input })
    expect(result).toEqual({ out: '', err: expect.stringContaining(words), code })
    expect(result.err).not.toContain('s3cret')
    await expect(stat(join(home, 'state/profiles.json'))).rejects.toMatchObject({ code: 'ENOENT' })
  })

  test('a key command is stored in place of the key', async () => {
    const command = `cat ${join(root, 'test.key')}`
    expect(await run(['login', lock.url, '--key-command', command])).toMatchObject({ code: 0 })
    expect(await readFile(join(home, 'state/profiles.json'), 'utf8')).not.toContain(key)
    expect(await run(['whoami', '--json'])).toMatchObject({
      code: 0,
      out: expect.stringContaining('"key_from": "profile default, its key command"'),
    })
  })
})

describe('submit', () => {
  test('a file, with --set by title, --seed and --count; paths on stdout, nothing else there', async () => {
    const args = [
      'submit',
      PICTURE,
      '--set',
      'Prompt.text=a red fox',
      '--set',
      '5.width=64',
      '--set',
      '5.height=64',
      '--seed',
      '9007199254740993',
      '--count',
      '2',
    ]
    const { out, code } = await run([...args, '--output', 'pictures'], { env: withKey() })
    expect(code).toBe(0)
    const paths = out.trim().split('\n')
    expect(await readdir(join(home, 'pictures'))).toEqual(paths.map((path) => path.split('/').at(-1)))
    const sent = sim.requests
      .filter(({ method, target }) => method === 'POST' && target === '/prompt')
      .map(({ body }) => body.text ?? '')
    expect(sent.map((body) => /"seed":(\d+)/.exec(body)?.[1])).toEqual(['9007199254740993', '9007199254740994'])
    expect(sent[0]).toContain('"text":"a red fox"')
  })

  test('stdin, as JSON out, progress beside it', async () => {
    const { out, code } = await run(['submit', '-', '--json'], { env: withKey(), input: await readFile(WORKFLOW) })
    expect(code).toBe(0)
    const [prompt] = JSON.parse(out).prompts
    expect(prompt).toMatchObject({
      status: 'success',
      seed: null,
      warnings: [],
      outputs: [{ path: expect.stringMatching(/\.png$/) }],
    })
    expect(prompt.prompt_id).toMatch(/^[0-9a-f-]{36}$/)
  })

  test('a picture of ComfyUI is a workflow, and an --image is uploaded', async () => {
    const made = (await run(['submit', WORKFLOW], { env: withKey() })).out.trim()
    await writeFile(
      join(home, 'load.json'),
      '{"1":{"class_type":"LoadImage","inputs":{"image":"x"}},"2":{"class_type":"SaveImage","inputs":{"images":["1",0],"filename_prefix":"again"}}}',
    )
    expect(await run(['submit', 'load.json', '--image', `LoadImage.image=${made}`], { env: withKey() })).toMatchObject({
      code: 0,
      out: expect.stringContaining('again_0000'),
    })
    expect(await run(['submit', made], { env: withKey() })).toMatchObject({
      code: 0,
      out: expect.stringContaining('.png\n'),
    })
  })

  test('--dry-run prints what would be sent, digit for digit, and asks nobody', async () => {
    const input = '{"1":{"class_type":"K","inputs":{"seed":18446744073709551615,"cfg":8.0,"x":NaN,"y":1}}}'
    const plain = await run(['submit', '-', '--dry-run', '--set', '1.y=2.50'], { env: withKey(), input })
    expect(plain).toMatchObject({
      code: 0,
      out: expect.stringContaining(
        '"seed": 18446744073709551615,\n      "cfg": 8.0,\n      "x": NaN,\n      "y": 2.50',
      ),
    })
    const { prompts } = JSON.parse((await run(['submit', '-', '--dry-run', '--json'], { env: withKey(), input })).out)
    expect(prompts).toMatchObject([{ status: 'dry-run', prompt: input }])
    expect(sim.requests).toEqual([])
  })

  test('--no-wait prints the id of a prompt that then runs', async () => {
    const { out, code } = await run(['submit', WORKFLOW, '--no-wait'], { env: withKey() })
    expect([code, out]).toEqual([0, expect.stringMatching(/^[0-9a-f-]{36}\n$/)])
    expect(await readdir(home)).toEqual([])
  })

  test('Ctrl-C cancels the prompt on the server by its id, and ends with 130', async () => {
    sim.setStepMs(100)
    const args = ['submit', PICTURE, '--set', '5.width=64', '--set', '5.height=64']
    const child = startCli(args, { cwd: home, env: withKey() })
    const [said, closed] = [text(child.stderr), once(child, 'close')]
    const isSent = (): boolean => sim.requests.some(({ method, target }) => method === 'POST' && target === '/prompt')
    await expect.poll(isSent, { timeout: 10_000 }).toBe(true)
    child.kill('SIGINT')
    const [err, [code]] = await Promise.all([said, closed])
    expect([code, err]).toEqual([
      130,
      expect.stringMatching(/Interrupted; prompt [0-9a-f-]{36} is cancelled on the server\./),
    ])
    expect(sim.requests.some(({ target }) => /^\/api\/jobs\/[0-9a-f-]{36}\/cancel$/.test(target))).toBe(true)
    expect(sim.requests.some(({ target }) => target === '/interrupt')).toBe(false)
  })

  test.each<[string, string[], string, number, RegExp]>([
    ['broken JSON', ['-'], '{"1": {', 2, /stdin is not JSON: the text ends too early at line 1, column 8/],
    ['a UI-format file', ['-'], '{"nodes": [], "links": []}', 2, /UI format[\s\S]*Workflow > Export \(API\)/],
    ['no file there', ['s3cret.json'], '', 2, /The workflow file does not exist/],
    [
      'an unknown node',
      [WORKFLOW, '--set', 's3cret.x=1'],
      '',
      2,
      /--set names a node that is not in the workflow\.\nNearest: /,
    ],
    ['an output folder that is a file', [WORKFLOW, '--output', WORKFLOW], '', 2, /output folder/],
    [
      'a validation error',
      [PICTURE, '--set', '3.steps=0'],
      '',
      3,
      /node 3 \(KSampler\), steps: Value 0 smaller than min of 1/,
    ],
    ['an unknown profile', [WORKFLOW, '--profile', 's3cret'], '', 2, /no profile of that name/],
    ['a surplus argument', [WORKFLOW, 's3cret'], '', 2, /./],
  ])('%s', async (_name, args, input, code, words) => {
    const env = args.includes('--profile') ? {} : withKey()
    const result = await run(['submit', ...args], { env, input })
    expect(result).toEqual({ out: '', err: expect.stringMatching(words), code })
    expect(result.err).not.toContain('s3cret')
    expect(result.err.trim().split('\n').length).toBeGreaterThan(1) // what to do next
  })

  test.each<[string, () => Record<string, string>, readonly string[], number]>([
    ['a failure', withKey, [PICTURE], 4],
    ['nobody there', () => ({ COMFY_AUTH_URL: 'http://127.0.0.1:1' }), [WORKFLOW], 5],
    ['no key', () => ({ COMFY_AUTH_URL: lock.url }), [WORKFLOW], 6],
    ['its time is over', withKey, [WORKFLOW, '--timeout', '300ms'], 7],
  ])('%s has its exit code, in JSON too', async (name, env, args, code) => {
    sim.setFaults(code === 7 ? { hangNodes: ['EmptyImage'] } : { failNodes: ['KSampler'] })
    const result = await run(
      [
        'submit',
        ...args,
        '--set',
        name === 'its time is over' ? 'EmptyImage.color=77' : 'SaveImage.filename_prefix=x',
        '--json',
      ],
      { env: env() },
    )
    expect(result.code).toBe(code)
    expect(JSON.parse(result.out).error).toEqual({
      code: expect.any(String),
      message: expect.any(String),
      hint: expect.stringMatching(/./),
    })
  })
})
