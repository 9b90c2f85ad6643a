import { createServer, type ServerResponse } from 'node:http'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { openStore } from '../../src/queue/store.ts'
import { runCli, temporaryFolder } from '../support/cli.ts'
import { closing } from '../support/closers.ts'
import { portOf } from '../support/ports.ts'
import { fakeComfy } from './fake-comfy.ts'
import { newJob } from './new-job.ts'

/** A server that answers everything so, and the methods it was asked with. */
async function stranger(answer: (response: ServerResponse) => void) {
  const methods: string[] = []
  const http = createServer((request, response) => {
    methods.push(request.method!)
    answer(response)
  })
  onTestFinished(() => {
    http.closeAllConnections()
    http.close()
  })
  return { url: `http://127.0.0.1:${await portOf(http)}`, methods }
}

async function queue() {
  const home = temporaryFolder()
  const store = closing(await openStore(join(home, 'queue.db')))
  const job = newJob({ output: join(home, 'out') })
  await store.add([job])
  const run = (...args: string[]) => runCli(['queue', ...args], { home, cwd: home })
  return { store, job, run }
}

test.each([
  ['500', (response: ServerResponse) => response.writeHead(500).end()],
  ['501', (response: ServerResponse) => response.writeHead(501).end()],
  ['a page', (response: ServerResponse) => response.end('<html>')],
  ['a closed connection', (response: ServerResponse) => response.destroy()],
])('what answers everything with %s is sent nothing, and the job goes to the next server', async (_what, answer) => {
  const { store, job, run } = await queue()
  const { url, methods } = await stranger(answer)
  expect((await run('work', '--once', '--url', url)).exitCode).toBe(5)
  expect(methods).not.toContain('POST')
  expect((await store.get(job.id))?.status).toEqual({ state: 'queued', reason: expect.stringContaining(url) })
  const comfy = closing(await fakeComfy())
  expect((await run('work', '--once', '--url', comfy.url)).exitCode).toBe(0)
  expect(comfy.accepted).toEqual([job.id])
})

const GONE = 'http://gone:8188'

async function sentToGone() {
  const { store, job, run } = await queue()
  await store.move({ id: job.id, from: 'queued', to: { state: 'sending', server: GONE }, nowMs: 1 })
  return { store, job, run }
}

test('work says that jobs wait for another server, and not that there is nothing to send', async () => {
  const { run } = await sentToGone()
  const comfy = closing(await fakeComfy())
  const { stderr, exitCode } = await run('work', '--once', '--url', comfy.url)
  expect({ stderr, exitCode }).toEqual({ stderr: expect.stringContaining(`1 job`), exitCode: 0 })
  expect(stderr).toContain(GONE)
  expect(stderr).not.toContain('There is nothing to send')
})

test('a job of a server that is gone is tried again by the word of its owner alone', async () => {
  const { store, job, run } = await sentToGone()
  expect(await run('retry', job.id)).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('--lost') })
  const again = await run('retry', job.id, '--lost')
  expect(again.exitCode).toBe(0)
  expect((await store.get(job.id))?.status).toMatchObject({ state: 'failed', retriedAs: again.stdout.trim() })
  expect((await store.get(again.stdout.trim()))?.status).toEqual({ state: 'queued' })
})

test('a job of a server that is gone is cancelled by the word of its owner, and no server is asked', async () => {
  const { store, job, run } = await sentToGone()
  const refused = await run('cancel', job.id, '--url', 'http://127.0.0.1:1')
  expect(refused).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('--lost') })
  expect((await run('cancel', job.id, '--lost', '--url', 'http://127.0.0.1:1')).exitCode).toBe(0)
  expect((await store.get(job.id))?.status.state).toBe('cancelled')
})
