import { type Gpu, NOTHING, type Probe, unknownGpu } from '../gpu/gpu.ts'
import { mainMemory } from '../gpu/host.ts'
import { probeGpus } from '../gpu/probe.ts'
import type { Machine } from '../gpu/run-tool.ts'
import type { ServerReport, ServerTarget } from './server.ts'

export interface CollectOptions {
  readonly servers: readonly ServerTarget[]
  /** Whose GPUs to look at; undefined leaves them out. */
  readonly machine: Machine | undefined
  /** For each server and for all GPU tools together; they run side by side. */
  readonly timeoutMs: number
}

export interface Collected {
  readonly servers: readonly ServerReport[]
  /** undefined where the GPUs were left out. */
  readonly local: (Probe & { readonly memory: { readonly total: number; readonly free: number } }) | undefined
  /** A part of ours did not end although its own deadline had passed. */
  readonly overran: boolean
}

/** How long after the parts' deadline the whole run ends, whatever still hangs (a name that cannot be looked up). */
const SPARE_MS = 1_000

/** Asks servers and GPUs side by side. A server's answers never wait for a GPU tool, nor the other way round. */
export async function collect(options: CollectOptions): Promise<Collected> {
  const { servers, machine, timeoutMs } = options
  const pending = Symbol('pending')
  let timer: NodeJS.Timeout | undefined
  const end = new Promise<typeof pending>((resolve) => {
    timer = setTimeout(resolve, timeoutMs + SPARE_MS, pending)
  })
  const [reports, probe, memory] = await Promise.all([
    Promise.all(servers.map((target) => Promise.race([askServer(target, timeoutMs), end]))),
    machine ? Promise.race([probeGpus(machine, timeoutMs), end]) : undefined,
    machine ? mainMemory(machine) : undefined,
  ])
  clearTimeout(timer)
  const answered = reports.map((report, i) => (report === pending ? overran(servers[i]!) : report))
  const found = probe === pending ? NOTHING : probe
  return {
    servers: answered,
    local: found && memory ? { ...withServerDevices(found, answered), memory } : undefined,
    overran: probe === pending || reports.includes(pending),
  }
}

/** The HTTP client is loaded only where there is a server to ask. */
async function askServer(target: ServerTarget, timeoutMs: number): Promise<ServerReport> {
  const { probeServer } = await import('./server.ts')
  return probeServer(target, timeoutMs)
}

function overran({ url }: ServerTarget): ServerReport {
  return {
    url,
    state: 'unknown',
    message: 'the check did not end within its own deadline',
    remedy: 'Give it more time with --timeout.',
    summary: {
      status: 'unavailable',
      queue: { pending: null, running: null },
      device: { name: null, type: null },
      vram: { total: null, free: null },
    },
    version: null,
    responseSeconds: null,
    devices: [],
  }
}

/** Does this address name the machine we run on? */
export function isLocal(url: string): boolean {
  const host = URL.parse(url)?.hostname ?? ''
  return /^(?:localhost|.+\.localhost|127(?:\.\d+){3}|\[::1\])$/.test(host)
}

/**
 * Intel's kernel drivers tell nobody how much VRAM is used, so without xpu-smi what a ComfyUI on this machine says of
 * its own device stands in.
 */
function withServerDevices(probe: Probe, servers: readonly ServerReport[]): Probe {
  if (probe.gpus.some(({ vendor }) => vendor === 'intel')) return probe
  const devices = servers.filter(({ url }) => isLocal(url)).flatMap((server) => server.devices)
  const intel = devices
    .filter(({ type }) => type === 'xpu')
    .map(
      ({ name, total, free }, index): Gpu => ({
        ...unknownGpu('intel', index, 'dedicated', 'ComfyUI'),
        name,
        memory: { kind: 'dedicated', total, used: null, free },
      }),
    )
  return { ...probe, gpus: [...probe.gpus, ...intel] }
}
