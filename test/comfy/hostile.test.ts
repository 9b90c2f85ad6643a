import { describe, expect, test } from 'vitest'
import { checkServer, requireComfy } from '../../src/comfy/check-server.ts'
import { type ComfyClient, createClient } from '../../src/comfy/client.ts'
import { plain } from '../../src/comfy/plain.ts'
import { runPrompt } from '../../src/comfy/run-prompt.ts'
import { readWorkflow } from '../../src/comfy/workflow.ts'
import { closing } from '../support/closers.ts'
import { type Route, startFake } from './fake.ts'

async function start(routes: Readonly<Record<string, Route>>, timeoutMs = 5_000): Promise<ComfyClient> {
  const fake = closing(await startFake(routes))
  return closing(createClient({ url: fake.url, timeoutMs }))
}

const device = { name: 'cpu', type: 'cpu' }

/** JSON that never ends: as fast as it is read, or a byte at a time. */
function endless(part: string, everyMs?: number): Route {
  return (request, _body, response) => {
    response.writeHead(200, { 'content-type': 'application/json' })
    response.write('["')
    const more = (): void => {
      while (!response.destroyed && response.write(part)) if (everyMs !== undefined) return
    }
    if (everyMs === undefined) response.on('drain', more)
    else {
      const timer = setInterval(more, everyMs)
      request.socket.once('close', () => clearInterval(timer))
    }
    more()
  }
}

describe('an answer without end', () => {
  test.each<[string, (comfy: ComfyClient) => Promise<unknown>]>([
    ['/system_stats', (comfy) => comfy.systemStats()],
    ['/prompt', (comfy) => comfy.promptInfo()],
    ['/health', (comfy) => comfy.health()],
    ['/system_stats, as login asks', (comfy) => requireComfy(comfy)],
    ['an upload', (comfy) => comfy.ask('POST', '/upload/image')],
  ])('of %s is given up after a megabyte', async (_name, act) => {
    const comfy = await start({ 'GET /': endless('a'.repeat(65_536)), 'POST /': endless('a'.repeat(65_536)) })
    await expect(act(comfy)).rejects.toMatchObject({
      kind: 'unreachable',
      message: expect.stringContaining('its answer is longer than any of ComfyUI'),
    })
  })

  test('that drips is given up by its deadline', async () => {
    const comfy = await start({ 'GET /': endless('a', 20) }, 300)
    await expect(comfy.systemStats()).rejects.toMatchObject({ kind: 'timeout' })
  })

  test('is given up by who reads the body alone, too', async () => {
    const comfy = await start({ 'GET /': endless('a'.repeat(1024 * 1024)) })
    const { body } = await comfy.request('GET', '/x')
    await expect(body.text()).rejects.toMatchObject({ code: 'UND_ERR_RES_EXCEEDED_MAX_SIZE' })
  }, 20_000)
})

describe('is it a ComfyUI', () => {
  test.each<[string, Route]>([
    ['no device', () => ({ system: { comfyui_version: '0.33.0' }, devices: [] })],
    ['a device without a type', () => ({ system: {}, devices: [{ name: 'cpu' }] })],
    ['JSON of something else', () => ({})],
    ['a web page', () => '<html>'],
    ['500 to everything', (_request, _body, response) => void response.writeHead(500).end()],
    ['501 to everything', (_request, _body, response) => void response.writeHead(501).end()],
  ])('%s: no, to checkServer and to requireComfy', async (_name, route) => {
    const comfy = await start({ 'GET /system_stats': route })
    const no = { kind: 'unreachable', message: expect.stringContaining('is not a ComfyUI') }
    await expect(checkServer(comfy)).rejects.toMatchObject(no)
    await expect(requireComfy(comfy)).rejects.toMatchObject(no)
  })

  test('one that does not tell its version is', async () => {
    const comfy = await start({ 'GET /system_stats': () => ({ system: {}, devices: [device] }) })
    expect(await checkServer(comfy)).toMatchObject({ comfyui: 'up', version: undefined })
  })

  test.each([
    ['no prompt_id', {}],
    ['one with a control character', { prompt_id: 'a\u001b[31m' }],
  ])('POST /prompt answered with %s is an error, and nothing is waited for', async (_name, answer) => {
    const comfy = await start({ 'GET /': () => ({}), 'POST /prompt': () => answer })
    const prompt = readWorkflow('{"1": {"class_type": "SaveImage", "inputs": {}}}')
    await expect(runPrompt({ client: comfy, prompt })).rejects.toMatchObject({
      kind: 'unreachable',
      message: expect.stringContaining('names no prompt_id'),
    })
  })
})

describe('what a server said, as it is shown', () => {
  test('is one line without control characters', () => {
    const said = '\u001b[31mX\u0007\n\nFAKE\u009b2J\u202e\u2028end\u007f'
    expect(plain(said)).toBe('[31mX   FAKE 2J  end')
  })

  test('keeps its lines where lines are wanted, and none looks like ours', () => {
    expect(plain('one\n\u001b[2Jtwo\r\nthree', { lines: true })).toBe('one\n   [2Jtwo \n  three')
  })

  test('its version', async () => {
    const stats = { system: { comfyui_version: '\u001b[31mX\u0007\n\nFAKE' }, devices: [device] }
    const comfy = await start({ 'GET /system_stats': () => stats })
    expect(await checkServer(comfy)).toMatchObject({ version: '[31mX   FAKE' })
  })
})
