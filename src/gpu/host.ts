import { promises as fs } from 'node:fs'
import { freemem, totalmem } from 'node:os'
import { join } from 'node:path'
import { type Machine, runTool } from './run-tool.ts'

/**
 * The machine's main memory in bytes: /proc/meminfo's MemTotal and MemAvailable where it is Linux, else what the
 * system says is free, which on macOS leaves out caches that would be given back.
 */
export async function mainMemory(machine: Machine): Promise<{ readonly total: number; readonly free: number }> {
  const text = machine.platform === 'linux' ? await readText(join(machine.root, 'proc/meminfo')) : undefined
  const bytes = (name: string): number | undefined => {
    const kib = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text ?? '')?.[1]
    return kib === undefined ? undefined : Number(kib) * 1024
  }
  return { total: bytes('MemTotal') ?? totalmem(), free: bytes('MemAvailable') ?? freemem() }
}

/** A small file that no driver has to be asked for; undefined if it cannot be read. */
export async function readText(path: string): Promise<string | undefined> {
  try {
    return await fs.readFile(path, 'utf8')
  } catch {
    return undefined
  }
}

/** Names in a folder, sorted as people count; none if there is no such folder. */
export async function namesIn(path: string): Promise<string[]> {
  try {
    const names = await fs.readdir(path)
    return names.sort((a, b) => a.localeCompare(b, 'en', { numeric: true }))
  } catch {
    return []
  }
}

/**
 * Files of /sys that a GPU's driver answers, read by a child process: a driver that hangs would hold one of our own
 * threads for ever, and with it the exit of this process. Path to trimmed text; 'hung' past the deadline.
 */
export async function readAttributes(
  paths: readonly string[],
  machine: Machine,
  timeoutMs: number,
): Promise<ReadonlyMap<string, string> | 'hung'> {
  if (paths.length === 0) return new Map()
  const run = await runTool('grep', ['-H', '', '--', ...paths], machine, { timeoutMs })
  if (run.kind === 'hung') return 'hung'
  const found = new Map<string, string>()
  if (run.kind !== 'ran') return found
  for (const line of run.stdout.split('\n')) {
    const path = paths.find((candidate) => line.startsWith(`${candidate}:`))
    if (path !== undefined && !found.has(path)) found.set(path, line.slice(path.length + 1).trim())
  }
  return found
}
