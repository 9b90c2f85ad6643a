import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openStore } from '../../src/queue/store.ts'
import { type CliOptions, runCli, temporaryFolder } from '../support/cli.ts'
import { closing } from '../support/closers.ts'
import { fakeComfy } from './fake-comfy.ts'
import { newJob } from './new-job.ts'

const WORKFLOW = '{"9":{"class_type":"SaveImage","inputs":{"seed":18446744073709551615,"cfg":8.0}}}'

interface Place {
  readonly cwd: string
  readonly run: (args: readonly string[], options?: CliOptions) => ReturnType<typeof runCli>
}

function place(env: Record<string, string> = {}): Place {
  const cwd = temporaryFolder()
  writeFileSync(join(cwd, 'cat.json'), WORKFLOW)
  const home = join(cwd, 'home')
  const run = (args: readonly string[], options: CliOptions = {}) =>
    runCli(['queue', ...args], { cwd, home, ...options, env: { ...env, ...options.env } })
  return { cwd, run }
}

test('a job is added without a server, listed, delivered once by work --once, and its picture saved', async () => {
  const comfy = closing(await fakeComfy())
  const { cwd, run } = place({ COMFY_AUTH_URL: comfy.url })
  const added = await run(['add', 'cat.json', '--output', 'cats', '--set', 'SaveImage.seed=7'])
  expect(added).toMatchObject({ exitCode: 0, stderr: '' })
  const id = added.stdout.trim()
  expect(id).toMatch(/^[0-9a-f-]{36}$/)
  expect((await run(['list'])).stdout).toContain(`${id.slice(0, 8)}  queued`)
  const worked = await run(['work', '--once'])
  const picture = join(cwd, 'cats', `${id}.png`)
  expect(worked).toEqual({ exitCode: 0, stderr: '', stdout: `${id.slice(0, 8)}  done       cat.json\n  ${picture}\n` })
  expect(readFileSync(picture, 'utf8')).toBe(`picture of ${id}.png`)
  expect(await run(['work', '--once'])).toMatchObject({ exitCode: 0, stderr: 'There is nothing to send.\n' })
  expect(comfy.accepted).toEqual([id])
  const shown = await run(['show', id.slice(0, 8), '--workflow'])
  expect(shown.stdout).toBe(`${WORKFLOW.replace('18446744073709551615', '7')}\n`)
})

test('many jobs from stdin: an id a line once all are on disk, or none where one line is bad', async () => {
  const { cwd, run } = place()
  const many = await run(['add', '--ndjson', '-'], { stdin: `${WORKFLOW}\n`.repeat(50) })
  expect(many).toMatchObject({ exitCode: 0, stderr: 'Added 50 jobs.\n' })
  const store = closing(await openStore(join(cwd, 'home', 'queue.db')))
  const jobs = await store.list({})
  expect(many.stdout.trim().split('\n')).toEqual(jobs.map(({ id }) => id))
  expect(jobs[0]?.workflow).toBe(WORKFLOW)
  const bad = await run(['add', '--ndjson', '-'], { stdin: `${WORKFLOW}\n{"1":` })
  expect(bad).toMatchObject({ exitCode: 2, stdout: '', stderr: expect.stringContaining('line 2 is not JSON') })
  expect((await store.counts()).queued).toBe(50)
})

test('--count adds as many jobs, each with the next seed, all digits kept; a wrong seed adds none', async () => {
  const { cwd, run } = place()
  const added = await run(['add', 'cat.json', '--seed', '9007199254740993', '--count', '3', '--label', 'cats'])
  const store = closing(await openStore(join(cwd, 'home', 'queue.db')))
  const jobs = await store.list({})
  expect(added).toMatchObject({ exitCode: 0, stderr: '', stdout: `${jobs.map(({ id }) => id).join('\n')}\n` })
  expect(jobs.map(({ label, workflow }) => [label, /"seed":(\d+)/.exec(workflow)?.[1]])).toEqual([
    ['cats', '9007199254740993'],
    ['cats', '9007199254740994'],
    ['cats', '9007199254740995'],
  ])
  expect(await run(['add', 'cat.json', '--seed', 'x'])).toMatchObject({ exitCode: 2, stdout: '' })
  expect(await run(['add', '--ndjson', '-', '--count', '2'], { stdin: WORKFLOW })).toMatchObject({ exitCode: 2 })
  expect((await store.counts()).queued).toBe(3)
})

test('--json prints one document a command, errors too', async () => {
  const { run } = place()
  const added = JSON.parse((await run(['add', 'cat.json', '--priority', '3', '--not-before', '2h', '--json'])).stdout)
  expect(added).toEqual({ schema: 1, added: 1, ids: [expect.any(String)] })
  const [id] = added.ids as string[]
  const listed = JSON.parse((await run(['list', '--json'])).stdout)
  expect(listed).toMatchObject({ schema: 1, jobs: [{ id, state: 'queued', priority: 3 }], counts: { queued: 1 } })
  expect(Date.parse(listed.jobs[0].notBefore) - Date.parse(listed.jobs[0].added)).toBe(7_200_000)
  const cancelled = JSON.parse((await run(['cancel', id!, '--json'])).stdout)
  expect(cancelled).toEqual({ schema: 1, id, result: 'cancelled' })
  const again = JSON.parse((await run(['retry', id!, '--json'])).stdout)
  expect(again).toEqual({ schema: 1, id: expect.any(String), retryOf: id })
  const shown = JSON.parse((await run(['show', id!, '--json'])).stdout)
  expect(shown).toMatchObject({ state: 'cancelled', retriedAs: again.id, workflow: WORKFLOW })
  const failed = await run(['show', 'no-such-job', '--json'])
  expect(JSON.parse(failed.stdout)).toEqual({
    error: { code: 'usage', message: 'No job has that id.', hint: expect.any(String) },
  })
})

test('exit codes tell what became of the run', async () => {
  const refusal = { error: { type: 'prompt_no_outputs', message: 'Prompt has no outputs' }, node_errors: {} }
  const answers: [number, unknown, number][] = [
    [400, refusal, 3],
    [401, {}, 6],
    [503, {}, 5],
    [500, {}, 4],
  ]
  const { cwd, run } = place()
  const store = closing(await openStore(join(cwd, 'home', 'queue.db')))
  for (const [status, body, exitCode] of answers) {
    const comfy = await fakeComfy((_id, response) => response.writeHead(status).end(JSON.stringify(body)))
    const job = newJob({ output: cwd, priority: status })
    await store.add([job])
    const worked = await run(['work', '--once', '--url', comfy.url])
    expect([status, worked.exitCode]).toEqual([status, exitCode])
    expect((await store.get(job.id))?.status.state).toBe(
      { 3: 'refused', 4: 'unknown', 5: 'queued', 6: 'queued' }[exitCode],
    )
    await store.move({ id: job.id, from: 'queued', to: { state: 'cancelled' }, nowMs: 0 })
    await comfy.close()
  }
  await store.add([newJob()])
  expect((await run(['work', '--once', '--url', 'http://127.0.0.1:1'])).exitCode).toBe(5)
})

test('an output folder that cannot be written keeps the job back unsent, and the next run delivers it', async () => {
  const comfy = closing(await fakeComfy())
  const { cwd, run } = place({ COMFY_AUTH_URL: comfy.url })
  writeFileSync(join(cwd, 'file'), '')
  await run(['add', 'cat.json', '--output', 'file/cats'])
  const worked = await run(['work', '--once'])
  expect(worked).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('is kept back') })
  expect(comfy.accepted).toEqual([])
  expect((await run(['list'])).stdout).toContain('queued')
})

test('nothing from argv is repeated in an error', async () => {
  const { run } = place()
  const secret = 'comfy_0123456789'
  for (const args of [
    ['show', secret],
    ['add', secret],
    ['add', 'cat.json', '--not-before', secret],
    ['add', 'cat.json', '--set', secret],
    ['list', '--queue', `redis://${secret}`],
    ['list', '--queue', `/dev/null/${secret}`],
    ['add', '--ndjson', secret],
  ]) {
    const { exitCode, stdout, stderr } = await run(args)
    expect([args, exitCode, (stdout + stderr).includes(secret)]).toEqual([args, 2, false])
    expect(stderr.trim().split('\n')).toHaveLength(2)
  }
})
