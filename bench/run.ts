// npm run bench [-- --rounds 5 --seconds 3 --json FILE]: see docs/benchmarks.md.
import { writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { isInstalled } from './process.ts'
import { type Row, small } from './small.ts'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '3' },
    json: { type: 'string' },
  },
})

const needs = ['wrk', 'taskset'].filter((program) => !isInstalled(program))
if (needs.length > 0) {
  console.error(`The benchmark needs ${needs.join(' and ')}. On Debian: apt-get install wrk util-linux`)
  process.exit(2)
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!

function summarise({ name, rounds }: Row) {
  return {
    name,
    requestsPerSecond: Math.round(median(rounds.map((round) => round.requestsPerSecond))),
    p50Ms: median(rounds.map((round) => round.p50Ms)),
    p99Ms: median(rounds.map((round) => round.p99Ms)),
    errors: rounds.reduce((sum, round) => sum + round.errors, 0),
  }
}

const { rows, absent } = await small(Number(values.rounds), Number(values.seconds))
const table = rows.map(summarise)
const ours = table.find(({ name }) => name === 'comfy-auth')!

console.log(
  `Small authenticated GET, one core, 64 connections; medians of ${values.rounds} interleaved rounds of ${values.seconds} s`,
)
console.log(`Node ${process.version}, ${cpus().length} cores\n`)
console.log('| proxy | requests/s | comfy-auth is | p50 ms | p99 ms | errors |')
console.log('|---|---:|---:|---:|---:|---:|')
for (const row of table) {
  const ratio = `${(ours.requestsPerSecond / row.requestsPerSecond).toFixed(2)}x`
  console.log(
    `| ${row.name} | ${row.requestsPerSecond} | ${ratio} | ${row.p50Ms.toFixed(2)} | ${row.p99Ms.toFixed(2)} | ${row.errors} |`,
  )
}
if (absent.length > 0) console.log(`\nAbsent: ${absent.join(', ')}`)
if (values.json)
  writeFileSync(values.json, `${JSON.stringify({ case: 'small', node: process.version, rows, absent }, null, 2)}\n`)
