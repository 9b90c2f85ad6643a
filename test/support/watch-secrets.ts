import childProcess, { type ChildProcess } from 'node:child_process'
import { readFileSync, statSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import type { Readable } from 'node:stream'
import { afterAll, afterEach, expect } from 'vitest'
import { knowSecret, listen, overheard } from './secrets.ts'

// In every test file: whatever a comfy-auth says that a test runs (stdout, stderr, its logs, its place in the process
// list) is looked through for keys, sessions and tokens after each test. What is ours is known by its look, and the
// free-form keys from what the run was given: flags, environment, key files.

/** What they print is a key. */
const PRINTS_A_KEY = /^(?:keygen|keys rotate|demo)\b/

function valuesOf(argv: readonly string[], flag: string): string[] {
  return argv.flatMap((word, at) => {
    if (word.startsWith(`${flag}=`)) return [word.slice(flag.length + 1)]
    const next = argv[at + 1]
    return word === flag && next !== undefined ? [next] : []
  })
}

/** A pipe would be waited for, and a test may put one, or 100 MB, where a file of keys should be. */
function readIfThere(path: string): string {
  try {
    const stat = statSync(path)
    return stat.isFile() && stat.size < 16 * 1024 * 1024 ? readFileSync(path, 'utf8') : ''
  } catch {
    return ''
  }
}

/** Every chunk as it comes, without having the stream flow for those who do not read it. */
function overhear(stream: Readable | null, place: string, mayHoldKeys: boolean): void {
  if (!stream) return
  const one = listen(place, { mayHoldKeys })
  const push = stream.push.bind(stream)
  stream.push = (chunk, encoding) => {
    if (chunk !== null) one.text += String(chunk)
    return push(chunk, encoding)
  }
}

function watch(child: ChildProcess, argv: readonly string[], env: NodeJS.ProcessEnv): void {
  const name = `comfy-auth ${argv.slice(0, 2).join(' ')}`
  overhear(child.stdout, `stdout of ${name}`, PRINTS_A_KEY.test(argv.join(' ')))
  overhear(child.stderr, `stderr of ${name}`, false)
  const files = [...valuesOf(argv, '--api-key-file'), ...(env.COMFYUI_API_KEY_FILE ? [env.COMFYUI_API_KEY_FILE] : [])]
  const keys = [...valuesOf(argv, '--api-key'), ...(env.COMFYUI_API_KEY ? [env.COMFYUI_API_KEY] : [])]
  for (const key of [...keys, ...files.flatMap((file) => readIfThere(file).split('\n'))]) knowSecret(key.trim())
  const logs = [...valuesOf(argv, '--audit-log'), ...valuesOf(argv, '--access-log')].filter((path) => path !== '-')
  for (const path of new Set(logs)) {
    for (const file of [path, `${path}.1`]) listen(`a log of ${name}`, { read: () => readIfThere(file) })
  }
  // Whoever writes a key on the command line shows it there, and is told so
  if (argv.some((word) => word.startsWith('--api-key'))) return
  const runs = () => child.exitCode === null && child.signalCode === null
  listen(`the title of ${name}`, { read: () => (runs() ? readIfThere(`/proc/${child.pid}/cmdline`) : '') })
}

const { spawn } = childProcess
const watched = (...all: Parameters<typeof spawn>): ChildProcess => {
  const child = Reflect.apply(spawn, childProcess, all)
  const [command, args, options] = all
  const words = [command, ...(Array.isArray(args) ? args : [])]
  const at = words.findIndex((word) => /\bbin[\\/](?:run|dev)\.js$/.test(word))
  if (at >= 0) watch(child, words.slice(at + 1), options?.env ?? process.env)
  return child
}
Object.assign(childProcess, { spawn: watched })
syncBuiltinESMExports()

// A test's folders are still there after it, and what it started mostly too
const check = () => expect(overheard(), 'secrets where they have no business').toEqual([])
afterEach(check)
afterAll(check)
