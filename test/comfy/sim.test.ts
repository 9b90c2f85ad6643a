import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { checkServer, probeRole } from '../../src/comfy/check-server.ts'
import { type ComfyClient, createClient } from '../../src/comfy/client.ts'
import { cancelPrompt, lookupPrompt, type RunEvent, type RunOptions, runPrompt } from '../../src/comfy/run-prompt.ts'
import { uploadFile } from '../../src/comfy/upload.ts'
import { readWorkflow, serialise, setInput, type Workflow } from '../../src/comfy/workflow.ts'
import { createKey } from '../../src/keys/lifecycle.ts'
import { type LiveKeys, openLiveKeys } from '../../src/keys/live.ts'
import { createProxy, type Proxy as Lock } from '../../src/proxy/proxy.ts'
import { createSim, type Sim } from '../../src/sim/sim.ts'
import { temporaryFolder } from '../support/cli.ts'

const large = readWorkflow(await readFile('examples/text-to-image.json'))
const picture = setInput(setInput(large, '5.width=64'), '5.height=64')
const empty = readWorkflow(await readFile('examples/empty-image.json'))

let root: string
let sim: Sim
let proxy: Lock | undefined
let keys: LiveKeys | undefined
let client: ComfyClient
let events: RunEvent[]

beforeEach(async () => {
  root = temporaryFolder()
  sim = await createSim({ stepMs: 1 })
  events = []
})

afterEach(async () => {
  await client.close()
  await proxy?.close()
  keys?.close()
  proxy = undefined
  await sim.close()
})

async function behindProxy(role: 'admin' | 'user' | 'viewer'): Promise<string> {
  const keyring = join(root, 'keyring.json')
  const { key } = await createKey({ label: 'test', role, keyring })
  keys = await openLiveKeys({ keyring, keyFiles: [], bareKeys: [] }, { watch: false })
  proxy = await createProxy({
    upstream: sim.url,
    listen: '127.0.0.1',
    port: 0,
    keys,
    serveDb: join(root, 'serve.db'),
    drainMs: 0,
  })
  client = createClient({ url: proxy.url, key })
  return key
}

function run(prompt: Workflow, more: Partial<RunOptions> = {}): ReturnType<typeof runPrompt> {
  return runPrompt({
    client,
    prompt,
    outputDir: join(root, 'out'),
    onEvent: (event) => events.push(event),
    pollMs: 500,
    ...more,
  })
}

function direct(): void {
  client = createClient({ url: sim.url })
}

const ways = [
  { way: 'directly', prepare: direct },
  { way: "through the proxy with a user's key", prepare: () => behindProxy('user') },
]

describe.each(ways)('$way', ({ prepare }) => {
  beforeEach(async () => {
    await prepare()
  })

  test('a picture is made, with the steps of the sampler told, and lies on disk', async () => {
    const { outputs } = await run(picture)
    expect(outputs).toHaveLength(1)
    const bytes = await readFile(outputs[0]!.path!)
    expect(bytes.toString('latin1', 1, 4)).toBe('PNG')
    const steps = events.filter((event) => event.type === 'progress').map(({ value }) => value)
    expect(steps.at(-1)).toBe(20)
    const fractions = events.flatMap((event) =>
      event.type === 'progress' || event.type === 'node' ? [event.fraction] : [],
    )
    expect(fractions).toEqual([...fractions].sort((a, b) => a - b))
  })

  test('the picture holds the prompt that made it, and makes it again', async () => {
    const seeded = setInput(picture, '3.seed=18446744073709551615')
    const { outputs } = await run(seeded)
    const again = readWorkflow(await readFile(outputs[0]!.path!))
    expect(again.nodes.get('3')?.inputs.get('seed')).toEqual({ source: '18446744073709551615' })
    const second = await run(again)
    expect(second.outputs[0]!.path).toBe(outputs[0]!.path) // cached: the same file, the same bytes
    expect(events.some(({ type }) => type === 'cached')).toBe(true)
    expect(await readdir(join(root, 'out'))).toHaveLength(1)
  })

  test('what the server got is what was read, digit for digit', async () => {
    await run(setInput(picture, '3.cfg=7.50'))
    const sent = sim.requests.find(({ method, target }) => method === 'POST' && target === '/prompt')
    expect(sent?.body.text).toContain('"cfg":7.50')
    expect(sent?.body.text).toContain(serialise(setInput(picture, '3.cfg=7.50')))
  })

  test('a cycle is said once, whole', async () => {
    const node = (link: string) => ({ class_type: 'ImageInvert', inputs: { image: [link, 0] } })
    const save = { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: 'x' } }
    const prompt = readWorkflow(JSON.stringify({ 1: node('2'), 2: node('1'), 3: save }))
    const error: unknown = await runPrompt({ client, prompt }).catch((thrown: unknown) => thrown)
    expect((error as Error).message.match(/Dependency cycle detected: 1 \(ImageInvert\) -> 2/g)).toHaveLength(1)
  })

  test('a refusal names node and input', async () => {
    const bad = setInput(setInput(picture, '3.steps=0'), '5.width=99999')
    await expect(run(bad)).rejects.toMatchObject({
      kind: 'refused',
      message: expect.stringMatching(
        /node 3 \(KSampler\), steps: Value 0 smaller than min of 1[\s\S]*node 5 "Empty Latent Image" \(EmptyLatentImage\), width: Value 99999 bigger than max of 16384/,
      ),
    })
  })

  test('a failure names the node', async () => {
    sim.setFaults({ failNodes: ['KSampler'] })
    await expect(run(picture)).rejects.toMatchObject({
      kind: 'failed',
      message: expect.stringContaining('failed at node 3 (KSampler)'),
    })
  })

  test('a prompt is cancelled by its id while it runs, and another while it waits', async () => {
    sim.setStepMs(50)
    const controller = new AbortController()
    const ids: string[] = []
    const onEvent = (event: RunEvent): void => void (event.type === 'submitted' && ids.push(event.promptId))
    const first = run(picture, { onEvent, signal: controller.signal }).catch((error: unknown) => error)
    await expect.poll(() => ids.length).toBe(1)
    const second = run(setInput(picture, '3.seed=2'), { onEvent }).catch((error: unknown) => error)
    await expect.poll(() => ids.length).toBe(2)
    expect(await lookupPrompt(client, ids[1]!)).toEqual({ state: 'pending', ahead: 1 })
    expect(await cancelPrompt(client, ids[1]!)).toBe('cancelled')
    expect(await cancelPrompt(client, ids[0]!)).toBe('cancelled')
    expect(await first).toMatchObject({ kind: 'failed', message: expect.stringContaining('stopped on the server') })
    expect(await second).toMatchObject({ kind: 'failed', message: expect.stringContaining('no longer knows') })
    expect(await cancelPrompt(client, ids[0]!)).toBe('not-there')
  })

  test('a file goes up once and is what LoadImage loads', async () => {
    await run(empty)
    const path = join(root, 'out', (await readdir(join(root, 'out')))[0]!)
    const name = await uploadFile({ client, path })
    expect(await uploadFile({ client, path })).toBe(name)
    expect(sim.requests.filter(({ target }) => target === '/upload/image')).toHaveLength(1)
    const load = readWorkflow(
      `{"1":{"class_type":"LoadImage","inputs":{"image":"${name}"}},"2":{"class_type":"SaveImage","inputs":{"images":["1",0],"filename_prefix":"x"}}}`,
    )
    expect((await run(load)).outputs).toHaveLength(1)
  })

  test('another file of the same name keeps a name of its own', async () => {
    const [one, two] = [join(root, 'a.txt'), join(root, 'b')]
    await writeFile(one, 'one')
    const first = await uploadFile({ client, path: one })
    await writeFile(one, 'two')
    expect(await uploadFile({ client, path: one })).not.toBe(first)
    await writeFile(two, 'no extension')
    expect(await uploadFile({ client, path: two })).toMatch(/^b-[0-9a-f]{16}$/)
    await expect(uploadFile({ client, path: join(root, 'none') })).rejects.toMatchObject({
      kind: 'usage',
      message: expect.stringContaining('does not exist'),
    })
  })

  test("SaveImageWebsocket's picture is kept", async () => {
    const prompt = readWorkflow(
      '{"1":{"class_type":"EmptyImage","inputs":{"width":64,"height":64,"batch_size":1,"color":255}},"2":{"class_type":"SaveImageWebsocket","inputs":{"images":["1",0]}}}',
    )
    expect((await run(prompt)).outputs.map(({ filename }) => filename)).toEqual(['node_2_00001.png'])
  })

  test('an answer to the POST that is lost does not lose the prompt, nor run it twice', async () => {
    sim.setFaults({ http: [{ path: '/prompt', method: 'POST', kind: 'after', times: 1 }] })
    expect((await run(picture)).outputs).toHaveLength(1)
    expect(sim.requests.filter(({ method, target }) => method === 'POST' && target === '/prompt')).toHaveLength(1)
  })

  test('only a part accepted: it runs with a warning, and with strict is cancelled and refused', async () => {
    const half = readWorkflow(
      serialise(empty).replace(/\}$/, ',"90":{"class_type":"SaveImage","inputs":{"filename_prefix":"x"}}}'),
    )
    expect(await run(half)).toMatchObject({
      status: 'success',
      problems: [{ node: '90', input: 'images', message: 'Required input is missing' }],
    })
    await expect(run(half, { strict: true })).rejects.toMatchObject({
      kind: 'refused',
      message: expect.stringContaining('node 90 (SaveImage), images'),
    })
  })
})

test('a server that restarts in the middle: whether it ran cannot be known', async () => {
  const { port } = sim
  sim.setFaults({ hangNodes: ['KSampler'] })
  client = createClient({ url: sim.url })
  const done = run(picture, { pollMs: 150 }).catch((error: unknown) => error)
  await expect.poll(() => events.some((event) => event.type === 'node' && event.node === '3')).toBe(true)
  await sim.close()
  await expect.poll(() => events).toContainEqual({ type: 'connection', state: 'unreachable' })
  sim = await createSim({ port })
  expect(await done).toMatchObject({
    kind: 'failed',
    message: expect.stringContaining('Whether it ran cannot be known'),
  })
})

describe('the key', () => {
  test.each(['admin', 'user', 'viewer'] as const)('checkServer and probeRole tell a %s', async (role) => {
    await behindProxy(role)
    expect(await checkServer(client)).toEqual({
      lock: 'comfy-auth',
      ours: true,
      comfyui: 'up',
      version: expect.any(String),
    })
    expect(await probeRole(client)).toBe(role)
  })

  test("a viewer's prompt is refused with the role that it needs", async () => {
    await behindProxy('viewer')
    await expect(run(picture)).rejects.toMatchObject({
      kind: 'unauthorised',
      message: expect.stringContaining('keys of role user only'),
    })
  })

  test('it never reaches the ComfyUI behind the proxy', async () => {
    const key = await behindProxy('user')
    await run(picture)
    expect(JSON.stringify(sim.requests)).not.toContain(key)
  })
})
