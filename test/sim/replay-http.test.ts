import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createSim, type Sim, type SimFlags } from '../../src/sim/sim.ts'
import { means, NOT_FOLLOWED } from './not-followed.ts'
import { differences, type Exchange, label } from './support/exchanges.ts'
import { FIXTURE_NODES } from './support/fixture-nodes.ts'
import { type RawResponse, send } from './support/raw.ts'
import { SESSIONS } from './support/sessions.ts'

const recorded = JSON.parse(
  readFileSync(new URL('../fixtures/comfyui-0.33.0/http.json', import.meta.url), 'utf8'),
) as readonly Omit<Exchange, 'index'>[]
const exchanges = recorded.map((exchange, index): Exchange => ({ ...exchange, index }))

/** A server of the recordings: its flags, and the exchanges that it answered in order. */
interface Run {
  readonly flags: SimFlags
  readonly exchanges: readonly Exchange[]
  readonly sessions: boolean
}

const of = (server: string) => exchanges.filter((exchange) => exchange.server === server)
/** From here on the recorded server had been started anew, without users and prompts. */
const SECOND_START = 340
const CORS =
  '--enable-cors-header https://studio.example --enable-compress-response-body --disable-api-nodes --max-upload-size 1'

const runs: readonly Run[] = [
  { flags: {}, exchanges: of('').filter(({ index }) => index < SECOND_START), sessions: true },
  { flags: {}, exchanges: of('').filter(({ index }) => index >= SECOND_START), sessions: false },
  { flags: {}, exchanges: of('--enable-assets'), sessions: false },
  { flags: { multiUser: true }, exchanges: of('--multi-user'), sessions: false },
  {
    flags: { corsHeader: 'https://studio.example', compressResponses: true, disableApiNodes: true, maxUploadSizeMb: 1 },
    exchanges: of(CORS),
    sessions: false,
  },
  { flags: { enableManager: true }, exchanges: of('--enable-manager'), sessions: false },
]

/** Files of the recorded page, as far as exchanges name them. */
const PAGE = [
  'index.html',
  'assets/index-vtow2bzT.js',
  'materialdesignicons.min.css',
  'fonts/inter-latin-normal.woff2',
  'templates/index.json',
  'scripts/ui.js',
  'scripts/app.js',
  'extensions/core/groupNode.js',
]

let webRoot: string
const sims: Sim[] = []
const answers = new Map<number, RawResponse>()

async function idle(sim: Sim): Promise<void> {
  for (;;) {
    const { exec_info } = (await (await fetch(`${sim.url}/prompt`)).json()) as {
      exec_info: { queue_remaining: number }
    }
    if (exec_info.queue_remaining === 0) return
  }
}

/** The prompts of the recorded sessions, under their recorded ids: /history and /view show them later. */
async function runSessions(sim: Sim): Promise<void> {
  writeFileSync(join(sim.folders.input, 'broken.png'), 'no image')
  for (const session of SESSIONS.filter(({ server, prompt }) => server === '' && prompt !== null)) {
    const { prompt_id } = (session.response?.json ?? {}) as { prompt_id?: string }
    const body = {
      prompt: session.prompt,
      client_id: session.client_id ?? undefined,
      prompt_id,
      ...session.request_extra,
    }
    await fetch(`${sim.url}/prompt`, { method: 'POST', body: JSON.stringify(body) })
    if (session.name.includes('cancelled') || session.name.includes('interrupted'))
      await fetch(`${sim.url}/interrupt`, { method: 'POST', body: '{}' })
    if (session.second_response)
      await fetch(`${sim.url}/prompt`, { method: 'POST', body: JSON.stringify({ prompt: {} }) })
    await idle(sim)
  }
  // The recorded server had let go of the older results by then, for want of memory.
  await fetch(`${sim.url}/free`, { method: 'POST', body: '{"free_memory":true}' })
}

async function play(run: Run): Promise<void> {
  const sim = await createSim({ stepMs: 0, webRoot, flags: run.flags, nodes: FIXTURE_NODES })
  sims.push(sim)
  if (run.sessions) await runSessions(sim)
  /** What the recorded server made up, and what ours made up in its place: ids and validators that later requests name. */
  const ours = new Map<string, string>()
  const swap = (text: string) => [...ours].reduce((out, [theirs, own]) => out.replaceAll(theirs, own), text)
  for (const exchange of run.exchanges) {
    const request = { ...exchange.request, path: swap(exchange.request.path) }
    if (request.headers)
      request.headers = Object.fromEntries(
        Object.entries(request.headers).map(([name, value]) => [name, value === null ? null : swap(value)]),
      )
    const answer = await send(sim.port, request)
    answers.set(exchange.index, answer)
    for (const name of ['etag', 'last-modified']) {
      const theirs = exchange.response.headers[name]
      const own = answer.headers[name]
      if (theirs !== undefined && own !== undefined && !ours.has(theirs)) ours.set(theirs, own)
    }
    if (exchange.request.path === '/users' && exchange.request.method === 'POST' && answer.status === 200) {
      ours.set(JSON.parse(exchange.response.body.text ?? '""') as string, JSON.parse(answer.body.toString()) as string)
    }
    if (request.path.endsWith('/prompt') && answer.status === 200) await idle(sim)
  }
}

beforeAll(async () => {
  webRoot = mkdtempSync(join(tmpdir(), 'sim-page-'))
  for (const file of PAGE) {
    mkdirSync(dirname(join(webRoot, file)), { recursive: true })
    writeFileSync(join(webRoot, file), `/* ${file} */`)
  }
  await Promise.all(runs.map(play))
}, 60_000)

afterAll(async () => {
  await Promise.all(sims.map((sim) => sim.close()))
  rmSync(webRoot, { recursive: true })
})

const whatOf = ({ request, note }: Exchange) => `${request.method} ${request.path} ${note}`
const excused = (exchange: Exchange) => NOT_FOLLOWED.some((entry) => means(entry, exchange.server, whatOf(exchange)))

describe('recorded exchanges', () => {
  const followed = exchanges.filter((exchange) => !excused(exchange))
  test.each(followed.map((exchange) => ({ name: label(exchange), exchange })))('$name', ({ exchange }) => {
    expect(differences(exchange, answers.get(exchange.index))).toEqual([])
  })

  test('every recorded exchange was played', () => {
    expect(answers.size).toBe(recorded.length)
  })
})

describe('the list of what is not followed', () => {
  test.each(NOT_FOLLOWED)('$server $what: none of its exchanges is in fact followed', (entry) => {
    const meant = exchanges.filter((exchange) => means(entry, exchange.server, whatOf(exchange)))
    expect(meant).not.toEqual([])
    expect(
      meant.filter((exchange) => differences(exchange, answers.get(exchange.index)).length === 0).map(label),
    ).toEqual([])
  })

  test('stands in the documentation, each entry with its reason', () => {
    const page = readFileSync(new URL('../../docs/simulated-comfyui.md', import.meta.url), 'utf8')
    for (const { reason } of NOT_FOLLOWED) expect(page).toContain(reason)
  })
})
