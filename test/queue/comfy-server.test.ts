import { createServer, type ServerResponse } from 'node:http'
import { text } from 'node:stream/consumers'
import { describe, expect, onTestFinished, test } from 'vitest'
import { createClient } from '../../src/comfy/client.ts'
import { comfyServer } from '../../src/queue/comfy-server.ts'
import type { Job } from '../../src/queue/job.ts'
import type { Server } from '../../src/queue/server.ts'
import { portOf } from '../support/ports.ts'
import { newJob } from './new-job.ts'

const job: Job = {
  ...newJob({ extraData: '{"extra_pnginfo":{"v":1.50}}' }),
  status: { state: 'queued' },
  changedMs: 0,
  cancelRequested: false,
}

function serverAt(url: string): Server {
  const client = createClient({ url, timeoutMs: 500 })
  onTestFinished(() => client.close())
  return comfyServer(client)
}

/** Sends the job to a server that answers POST /prompt so. */
async function sendTo(answer: (response: ServerResponse) => void) {
  const bodies: string[] = []
  const keys: unknown[] = []
  const http = createServer(async (request, response) => {
    bodies.push(await text(request))
    keys.push(request.headers['idempotency-key'])
    answer(response)
  })
  onTestFinished(() => {
    http.closeAllConnections()
    http.close()
  })
  const sent = await serverAt(`http://127.0.0.1:${await portOf(http)}`).send(job)
  return { sent, bodies, keys }
}

const says = (status: number, body: unknown) => (response: ServerResponse) =>
  response.writeHead(status).end(JSON.stringify(body))

test('the prompt goes up digit for digit, with the job id as prompt_id, client_id and Idempotency-Key', async () => {
  const { sent, bodies, keys } = await sendTo(says(200, { prompt_id: job.id, number: 1, node_errors: {} }))
  expect(sent).toEqual({ kind: 'accepted' })
  expect(keys).toEqual([job.id])
  expect(bodies).toEqual([
    `{"prompt":${job.workflow},"client_id":"${job.id}","prompt_id":"${job.id}","extra_data":{"extra_pnginfo":{"v":1.50}}}`,
  ])
})

test('an accepted prompt whose outputs were partly refused carries a warning with node and input', async () => {
  const errors = [
    { type: 'value_smaller_than_min', message: 'too small', details: 'seed', extra_info: { input_name: 'seed' } },
  ]
  const { sent } = await sendTo(says(200, { prompt_id: job.id, node_errors: { 1: { errors } } }))
  expect(sent).toEqual({ kind: 'accepted', warning: expect.stringContaining('1 (KSampler), seed: too small') })
})

describe('what an answer means', () => {
  test.each([
    [400, 'refused'],
    [413, 'refused'],
    [302, 'not-sent'],
    [401, 'not-sent'],
    [403, 'not-sent'],
    [404, 'not-sent'],
    [405, 'not-sent'],
    [418, 'not-sent'],
    [501, 'not-sent'],
    [408, 'doubtful'],
    [409, 'doubtful'],
    [421, 'not-sent'],
    [429, 'not-sent'],
    [503, 'not-sent'],
    [500, 'doubtful'],
    [502, 'doubtful'],
    [504, 'doubtful'],
    [520, 'doubtful'],
  ])('%i: %s', async (status, kind) => {
    const { sent } = await sendTo(says(status, { error: { type: 'x', message: 'why' }, node_errors: {} }))
    expect(sent.kind).toBe(kind)
  })

  test('an accepted prompt under an id of the server is in doubt: it cannot be found by the id of the job', async () => {
    const { sent } = await sendTo(says(200, { prompt_id: '0f0e2d3c-4b5a-4697-8877-665544332211' }))
    expect(sent).toMatchObject({ kind: 'doubtful', error: { message: expect.stringContaining('too old') } })
  })

  test.each([
    ['no JSON', (response: ServerResponse) => response.end('<html>')],
    [
      'a cut answer',
      (response: ServerResponse) =>
        response.writeHead(200, { 'content-length': 99 }).write('{"prompt_id":', () => response.destroy()),
    ],
    ['a cut connection', (response: ServerResponse) => response.destroy()],
    ['no answer in time', () => {}],
  ])('%s is in doubt', async (_what, answer) => {
    const { sent, bodies } = await sendTo(answer)
    expect(sent.kind).toBe('doubtful')
    expect(bodies).toHaveLength(1) // and it is not sent again
  })

  test('a connection that is refused, and a name that is none, sent nothing', async () => {
    expect(await serverAt('http://127.0.0.1:1').send(job)).toMatchObject({
      kind: 'not-sent',
      error: { kind: 'unreachable' },
    })
    expect((await serverAt('http://no-such-host.invalid').send(job)).kind).toBe('not-sent')
  })

  test('a TLS handshake that fails sent nothing', async () => {
    const plain = createServer()
    onTestFinished(() => void plain.close())
    const port = await portOf(plain)
    expect((await serverAt(`https://127.0.0.1:${port}`).send(job)).kind).toBe('not-sent')
  })
})
