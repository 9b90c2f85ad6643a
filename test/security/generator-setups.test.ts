import { afterAll, expect, test } from 'vitest'
import { closing } from '../support/closers.ts'
import { PLANS } from './generator/plans.ts'
import { seedOfRun } from './generator/random.ts'
import { pursue } from './generator/report.ts'
import { openWorld, SETUPS } from './generator/setups.ts'

const seed = seedOfRun()
const lines: string[] = []

afterAll(() => {
  console.info([`COMFY_AUTH_SEED=${seed}`, ...lines].join('\n'))
})

const total = Object.values(PLANS)
  .flat()
  .reduce((sum, [, , count]) => sum + count, 0)

test('at least 30,000 cases are sent to them', () => {
  expect(total).toBeGreaterThanOrEqual(30_000)
})

const names = Object.keys(SETUPS) as (keyof typeof SETUPS)[]

test.each(names)('nothing passes that may not: %s', { timeout: 120_000 }, async (name) => {
  const world = closing(await openWorld(SETUPS[name]))
  const { findings, line } = await pursue(PLANS[name], seed, world)
  lines.push(`${name}: ${line}`)
  expect(findings, `COMFY_AUTH_SEED=${seed}`).toEqual([])
  // And who may still does: the log is not silent for want of a door
  const headers = { 'X-API-Key': world.keys.admin }
  expect((await world.door.ask('GET', `${world.base}/internal/logs`, { headers })).status).toBe(200)
  expect(world.door.sim.requests.at(-1)?.target).toBe('/internal/logs')
})
