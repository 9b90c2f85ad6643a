import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Door, openDoor } from '../support/door.ts'
import { FAMILIES } from './generator/families.ts'
import { hunt, type Tally } from './generator/hunt.ts'
import { basePaths } from './generator/paths.ts'
import { seedOfRun } from './generator/random.ts'
import { furnish, WEAK_KEY, type World } from './generator/world.ts'

const seed = seedOfRun()
const lines: string[] = []
let door: Door
let world: World

beforeAll(async () => {
  console.info(`COMFY_AUTH_SEED=${seed}`)
  door = await openDoor({ throttle: { globalLimit: 1_000_000 } }, {}, [WEAK_KEY])
  world = await furnish(door)
})

afterAll(async () => {
  world?.close()
  await door?.close()
  console.info(lines.join('\n'))
})

const total = Object.values(FAMILIES).reduce((sum, { count }) => sum + count, 0)

test(`at least 20,000 cases are sent, by ComfyUI's log of which nothing passes that may not`, () => {
  expect(total).toBeGreaterThanOrEqual(20_000)
})

test.each(Object.keys(FAMILIES))('%s', { timeout: 120_000 }, async (name) => {
  const { family, count } = FAMILIES[name]!
  const tally: Tally = { cases: 0, requests: 0, arrived: 0 }
  expect(await hunt(family, count, seed, world, tally), `COMFY_AUTH_SEED=${seed}`).toEqual([])
  lines.push(`${name}: ${tally.cases} cases, ${tally.requests} requests, ${tally.arrived} arrived`)
})

test('the keys still open what they may, after all that', async () => {
  const stop = JSON.stringify({ prompt_id: world.own[0] })
  const headers = { 'X-API-Key': world.keys.user, 'Content-Type': 'application/json' }
  expect((await door.ask('GET', '/queue', { headers: { 'X-API-Key': world.keys.viewer } })).status).toBe(200)
  expect((await door.ask('POST', '/interrupt', { headers, body: stop })).status).toBe(200)
  expect((await door.ask('GET', '/internal/logs', { headers: { Cookie: world.cookies.admin } })).status).toBe(200)
})

test('without a lock a foreign page and a foreign host are still kept out', { timeout: 60_000 }, async () => {
  const unlocked = await openDoor({ keys: undefined })
  const origin = `http://127.0.0.1:${unlocked.port}`
  const there = { ...world, door: unlocked, host: origin.slice('http://'.length), origin }
  try {
    for (const name of ['foreign', 'hosts', 'serviceWorkers', 'lengths', 'codings']) {
      expect(await hunt(FAMILIES[name]!.family, 300, seed, there), `COMFY_AUTH_SEED=${seed} ${name}`).toEqual([])
    }
  } finally {
    await unlocked.close()
  }
})

test('below a base path', { timeout: 120_000 }, async () => {
  const inner = await openDoor({ throttle: { globalLimit: 1_000_000 }, basePath: '/comfy' }, {}, [WEAK_KEY])
  const below = await furnish(inner, { base: '/comfy' })
  try {
    for (const name of ['paths', 'targets', 'headers', 'guesses', 'foreign', 'stops', 'upgrades', 'clientIds']) {
      expect(await hunt(FAMILIES[name]!.family, 300, seed, below), `COMFY_AUTH_SEED=${seed} ${name}`).toEqual([])
    }
    // The prefix itself, in other spellings and crossed by dots
    expect(await hunt(basePaths, 1_000, seed, below), `COMFY_AUTH_SEED=${seed}`).toEqual([])
  } finally {
    below.close()
    await inner.close()
  }
})
