// Explained in docs/benchmarks.md.
import { writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { CASES } from './cases.ts'
import { type Case, compare, type Row } from './compare.ts'
import { floodNames, floods } from './floods/run.ts'
import { isInstalled } from './process.ts'

const USAGE = 'Usage: npm run bench [-- CASE... --rounds N --seconds N --json FILE], or [-- floods FLOOD...]'

function stop(message: string): never {
  console.error(message)
  process.exit(2)
}

const OPTIONS = {
  rounds: { type: 'string', default: '5' },
  seconds: { type: 'string', default: '3' },
  json: { type: 'string' },
} as const

function told() {
  try {
    return parseArgs({ allowPositionals: true, options: OPTIONS })
  } catch {
    return stop(`${USAGE}\nThe cases are ${Object.keys(CASES).join(', ')}; the floods ${floodNames.join(', ')}.`)
  }
}

const { values, positionals } = told()

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!

function summarise({ name, rounds }: Row, refused: boolean) {
  const wrong = ({ requests, refusals, socketErrors }: Row['rounds'][number]) =>
    socketErrors + (refused ? requests - refusals : refusals)
  return {
    name,
    requestsPerSecond: Math.round(median(rounds.map((round) => round.requestsPerSecond))),
    p50Ms: median(rounds.map((round) => round.p50Ms)),
    p99Ms: median(rounds.map((round) => round.p99Ms)),
    /** A figure with any of them is worthless. */
    wrongAnswers: rounds.reduce((sum, round) => sum + wrong(round), 0),
  }
}

function print({ title, ours, contenders, refused }: Case, rows: readonly Row[]): void {
  const table = rows.map((row) => summarise(row, refused))
  const own = table.find(({ name }) => name === ours)!
  console.log(`\n${title}: one core, 64 connections, medians of ${values.rounds} rounds of ${values.seconds} s\n`)
  console.log(`| | requests/s | ${ours} is | p50 ms | p99 ms | wrong answers |`)
  console.log('|---|---:|---:|---:|---:|---:|')
  for (const { name, requestsPerSecond, p50Ms, p99Ms, wrongAnswers } of table) {
    const ratio = `${(own.requestsPerSecond / requestsPerSecond).toFixed(2)}x`
    const cells = [name, requestsPerSecond, ratio, p50Ms.toFixed(2), p99Ms.toFixed(2), wrongAnswers]
    console.log(`| ${cells.join(' | ')} |`)
  }
  const absent = contenders.flatMap(({ name, absent: why }) => (why ? [`${name} (${why})`] : []))
  if (absent.length > 0) console.log(`\nAbsent: ${absent.join(', ')}`)
}

async function speed(names: readonly string[]): Promise<Record<string, readonly Row[]>> {
  const needs = ['wrk', 'taskset'].filter((program) => !isInstalled(program))
  if (needs.length > 0) stop(`The benchmark needs ${needs.join(' and ')}. On Debian: apt-get install wrk util-linux`)
  if (names.some((name) => !CASES[name])) stop(`The cases are ${Object.keys(CASES).join(', ')}, and floods.`)
  const results: Record<string, readonly Row[]> = {}
  for (const name of names) {
    const chosen = CASES[name]!()
    const rows = await compare(chosen, Number(values.rounds), Number(values.seconds))
    results[name] = rows
    print(chosen, rows)
  }
  return results
}

async function attacked(names: readonly string[]): Promise<Record<string, unknown>> {
  if (names.some((name) => !floodNames.includes(name))) stop(`The floods are ${floodNames.join(', ')}.`)
  return { floods: await floods(names, Number(values.rounds), Number(values.seconds)) }
}

console.log(`Node ${process.version}, ${cpus().length} cores`)
const [first, ...more] = positionals
const results =
  first === 'floods'
    ? await attacked(more.length > 0 ? more : floodNames)
    : await speed(positionals.length > 0 ? positionals : Object.keys(CASES))
if (values.json) writeFileSync(values.json, `${JSON.stringify({ node: process.version, results }, null, 2)}\n`)
