import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { METRICS } from '../../src/health/metrics.ts'

const page = readFileSync(join(import.meta.dirname, '../../docs/health.md'), 'utf8')

test('docs/health.md lists every check that --warn and --crit can name, and no other', () => {
  const listed = [...page.matchAll(/^\| `([a-z_]+)` \| (?:each|this) /gm)].map((match) => match[1])
  expect(listed).toEqual(Object.keys(METRICS))
})
