import { type ChildProcess, spawn } from 'node:child_process'
import { accessSync, constants, statSync } from 'node:fs'
import { delimiter, isAbsolute, join } from 'node:path'
import type { Readable } from 'node:stream'

/** Where tools are looked for and what they may see: given, so that tests can bring a machine of their own. */
export interface Machine {
  readonly platform: NodeJS.Platform
  readonly env: Readonly<Record<string, string | undefined>>
  /** Folders searched behind PATH; a job of cron has a PATH of two folders. */
  readonly toolDirs: readonly string[]
  /** `/`, or a folder with `sys` and `proc` in it. */
  readonly root: string
}

export type ToolRun =
  | { readonly kind: 'ran'; readonly code: number | null; readonly stdout: string; readonly stderr: string }
  | { readonly kind: 'absent' }
  | { readonly kind: 'hung' }
  | { readonly kind: 'flooded'; readonly limitBytes: number }
  | { readonly kind: 'unrunnable'; readonly reason: string }

const OUTPUT_LIMIT = 4 * 1_048_576
/** After its end a child of the tool's may hold the pipe open: what came by then is the answer. */
const PIPE_GRACE_MS = 250
/** All that a tool may inherit: nothing that could be a secret. */
const PASSED =
  /^(?:PATH|HOME|LANG|LD_LIBRARY_PATH|DYLD_LIBRARY_PATH|SystemRoot|SystemDrive|windir|ProgramData|ProgramFiles|TEMP|TMP|TMPDIR|ROCM_PATH|ROCM_HOME)$/i

/** Absolute path of a tool, from PATH's absolute folders and then `toolDirs`; undefined if it is in none. */
export function findTool(name: string, machine: Machine): string | undefined {
  const path = Object.entries(machine.env).find(([key]) => key.toUpperCase() === 'PATH')?.[1] ?? ''
  const file = machine.platform === 'win32' ? `${name}.exe` : name
  return [...path.split(delimiter), ...machine.toolDirs]
    .filter((dir) => isAbsolute(dir)) // an empty or relative entry is the folder we happen to stand in
    .map((dir) => join(dir, file))
    .find(isRunnable)
}

function isRunnable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    return false
  }
}

/**
 * Runs a tool without a shell and answers by the deadline whatever the tool does: one that sleeps in the kernel takes
 * no SIGKILL and keeps its pipe open, so it is killed, its pipes are destroyed, and nobody waits for it. An aborted
 * `signal` ends it at once, as if hung: nobody wants the answer any more.
 */
export function runTool(
  name: string,
  args: readonly string[],
  machine: Machine,
  limits: { readonly timeoutMs: number; readonly maxBytes?: number; readonly signal?: AbortSignal },
): Promise<ToolRun> {
  const path = findTool(name, machine)
  if (path === undefined) return Promise.resolve({ kind: 'absent' })
  const maxBytes = limits.maxBytes ?? OUTPUT_LIMIT
  return new Promise((resolve) => {
    const child = start(path, args, machine)
    const chunks = { stdout: [] as Buffer[], stderr: [] as Buffer[] }
    let bytes = 0
    let grace: NodeJS.Timeout | undefined
    const answer = (run: ToolRun): void => {
      clearTimeout(timer)
      clearTimeout(grace)
      limits.signal?.removeEventListener('abort', giveUp)
      release(child)
      resolve(run)
    }
    const giveUp = (): void => {
      kill(child, machine.platform)
      answer({ kind: 'hung' })
    }
    const timer = setTimeout(giveUp, limits.timeoutMs)
    limits.signal?.addEventListener('abort', giveUp)
    const take = (stream: Readable | null, into: Buffer[]): void => {
      stream?.on('error', () => {}) // a destroyed pipe; how the tool ended is told elsewhere
      stream?.on('data', (chunk: Buffer) => {
        bytes += chunk.length
        into.push(chunk)
        if (bytes <= maxBytes) return
        kill(child, machine.platform)
        answer({ kind: 'flooded', limitBytes: maxBytes })
      })
    }
    take(child.stdout, chunks.stdout)
    take(child.stderr, chunks.stderr)
    const ran = (code: number | null): void =>
      answer({ kind: 'ran', code, stdout: decode(chunks.stdout), stderr: decode(chunks.stderr) })
    child.on('error', (error: NodeJS.ErrnoException) => answer({ kind: 'unrunnable', reason: error.code ?? 'error' }))
    child.once('exit', (code) => {
      grace = setTimeout(() => ran(code), PIPE_GRACE_MS)
    })
    child.once('close', (code) => ran(code))
  })
}

function start(path: string, args: readonly string[], machine: Machine): ChildProcess {
  const env: Record<string, string> = { LC_ALL: 'C' }
  for (const [key, value] of Object.entries(machine.env)) if (value !== undefined && PASSED.test(key)) env[key] = value
  return spawn(path, args, {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
    windowsHide: true,
    detached: machine.platform !== 'win32', // a group of its own: a wrapper script's children are killed with it
  })
}

function kill(child: ChildProcess, platform: NodeJS.Platform): void {
  try {
    if (platform !== 'win32' && child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
    else child.kill('SIGKILL')
  } catch {
    child.kill('SIGKILL') // the group is gone; its leader may not be
  }
}

function release(child: ChildProcess): void {
  child.removeAllListeners()
  child.on('error', () => {})
  child.stdout?.destroy()
  child.stderr?.destroy()
  child.unref()
}

function decode(chunks: readonly Buffer[]): string {
  return Buffer.concat(chunks)
    .toString('utf8')
    .replace(/^\uFEFF/, '')
}
