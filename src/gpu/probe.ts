import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { probeAmd } from './amd.ts'
import { probeApple } from './apple.ts'
import { NOTHING, type Probe } from './gpu.ts'
import { probeIntel } from './intel.ts'
import { probeJetson } from './jetson.ts'
import { probeNvidia } from './nvidia.ts'
import type { Machine } from './run-tool.ts'
import { probeWindows } from './windows.ts'

/** The machine we run on. */
export function thisMachine(): Machine {
  const { platform, env } = process
  return { platform, env, toolDirs: platform === 'win32' ? windowsToolDirs(env) : UNIX_TOOL_DIRS, root: '/' }
}

/** Beside PATH: WSL2's and Google's containers' places for nvidia-smi, ROCm's for its tools, NixOS' for all. */
const UNIX_TOOL_DIRS = [
  '/usr/local/bin',
  '/usr/bin',
  '/bin',
  '/usr/sbin',
  '/sbin',
  '/usr/lib/wsl/lib',
  '/usr/local/nvidia/bin',
  '/opt/bin',
  '/opt/rocm/bin',
  '/run/current-system/sw/bin',
]

/** System32, and the driver store, where the newest folder is the driver in use. */
function windowsToolDirs(env: Machine['env']): string[] {
  const system = join(env.SystemRoot ?? 'C:\\Windows', 'System32')
  const store = join(system, 'DriverStore', 'FileRepository')
  let newest: string[] = []
  try {
    newest = readdirSync(store, { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && entry.name.startsWith('nv'))
      .map((entry) => join(store, entry.name))
      .sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs)
  } catch {} // no driver store: nothing more to look through
  return [system, ...newest]
}

/**
 * Every GPU of this machine, all vendors asked at once, each within `timeoutMs`. A machine without any tool answers with
 * nothing found, which is no error. Never rejects for what a tool does.
 */
export async function probeGpus(machine: Machine, timeoutMs: number): Promise<Probe> {
  const on = (platforms: readonly NodeJS.Platform[], probe: () => Promise<Probe>): Promise<Probe> =>
    platforms.includes(machine.platform) ? probe() : Promise.resolve(NOTHING)
  const [nvidia, jetson, ...others] = await Promise.all([
    on(['linux', 'win32', 'freebsd'], () => probeNvidia(machine, timeoutMs)),
    on(['linux'], () => probeJetson(machine, timeoutMs)),
    on(['linux'], () => probeAmd(machine, timeoutMs)),
    on(['linux'], () => probeIntel(machine, timeoutMs)),
    on(['darwin'], () => probeApple(machine, timeoutMs)),
    on(['win32'], () => probeWindows(machine, timeoutMs)),
  ])
  const probes =
    jetson!.gpus.length > 0 && nvidia!.gpus.every(({ memory }) => memory.kind === 'unified')
      ? [jetson!, { gpus: [], reports: nvidia!.reports.filter(({ outcome }) => outcome !== 'unreadable') }]
      : [nvidia!, jetson!]
  const all = [...probes, ...others]
  return { gpus: all.flatMap(({ gpus }) => gpus), reports: all.flatMap(({ reports }) => reports) }
}
