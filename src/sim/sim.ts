import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { ComfyAuthError } from '../errors.ts'
import { createConsole } from './console.ts'
import { createExecution } from './execution.ts'
import { createFrames } from './frames.ts'
import { PyFloat, type Writable } from './json.ts'
import { createLog, type SimRequest } from './log.ts'
import { NODES } from './nodes/table.ts'
import type { NodeClass } from './nodes/types.ts'
import type { Faults, HttpFault, SimFlags, SimOptions } from './options.ts'
import { makeFolders } from './paths.ts'
import { PromptQueue } from './queue.ts'
import { createRouter } from './router.ts'
import { fileRoutes } from './routes-files.ts'
import { infoRoutes } from './routes-info.ts'
import { queueRoutes } from './routes-queue.ts'
import { assetRoutes, demoPage, logRoutes, managerRoutes, pageRoutes, socketRoute } from './routes-rest.ts'
import { userRoutes } from './routes-users.ts'
import { createHttp } from './server.ts'
import { createUsers } from './users.ts'
import type { World } from './world.ts'

export type { SimRequest } from './log.ts'
export type { Faults, HttpFault, SimDevice, SimFlags, SimOptions } from './options.ts'

/** A simulated ComfyUI 0.33.0 that listens. */
export interface Sim {
  /** `http://host:port`, without a slash at the end. */
  readonly url: string
  readonly port: number
  /** Every request that reached it, refused ones too, oldest first. */
  readonly requests: readonly SimRequest[]
  readonly folders: { readonly input: string; readonly output: string; readonly temp: string; readonly user: string }
  clearRequests(): void
  /** Open WebSockets. */
  sockets(): number
  /** Replaces all faults; nodes that hang go on. */
  setFaults(faults: Faults): void
  /** The time of one step of the sampler from now on, in ms. */
  setStepMs(ms: number): void
  /** Breaks all connections and stops listening; its own temporary folder is removed. */
  close(): Promise<void>
}

const MB = 1024 * 1024
const DEFAULT_STEP_MS = 40
const DEFAULT_LOG_LIMIT = 50_000
const CPU = { name: 'cpu', type: 'cpu', index: null, vramTotal: 25_276_510_208, vramFree: 22_816_387_072 }

function features(flags: SimFlags): Writable {
  const given = flags.maxUploadSizeMb
  return {
    supports_preview_metadata: true,
    supports_model_type_tags: true,
    // A float where the flag was given: argparse reads it as one.
    max_upload_size: given === undefined ? 100 * MB : new PyFloat(Math.round(given * MB)),
    extension: {
      manager: flags.enableManager ? { supports_v4: true, supports_csrf_post: true } : { supports_v4: true },
    },
    node_replacements: true,
    assets: false,
  }
}

/** Finds the fault that a request meets, and counts it down. */
function createFaultFinder(faults: () => Faults): (method: string, target: string) => HttpFault | undefined {
  const met = new Map<HttpFault, number>()
  return (method, target) => {
    const list = faults().http
    if (!list) return undefined
    for (const fault of list) {
      if (!target.startsWith(fault.path) || (fault.method !== undefined && fault.method !== method)) continue
      const count = (met.get(fault) ?? 0) + 1
      if (fault.times !== undefined && count > fault.times) continue
      met.set(fault, count)
      return fault
    }
    return undefined
  }
}

/**
 * Starts a simulated ComfyUI. It shares no code with the proxy and the clients that it judges.
 * Throws `usage` where the address cannot be had or `webRoot` holds no index.html.
 */
export async function createSim(options: SimOptions & { readonly nodes?: readonly NodeClass[] } = {}): Promise<Sim> {
  const { host = '127.0.0.1', port = 0, flags = {} } = options
  if (options.webRoot !== undefined && !existsSync(join(options.webRoot, 'index.html'))) {
    throw new ComfyAuthError('usage', 'The frontend folder holds no index.html.', {
      remedy: 'Name the folder that holds the built frontend (static/ in the comfyui-frontend-package wheel).',
    })
  }
  const base = options.dataDir === undefined ? mkdtempSync(join(tmpdir(), 'comfy-sim-')) : resolve(options.dataDir)
  const folders = makeFolders(base)
  const log = createLog(options.logLimit ?? DEFAULT_LOG_LIMIT)
  let faults = options.faults ?? {}
  let stepMs = options.stepMs ?? DEFAULT_STEP_MS

  const nodes = new Map([...NODES, ...(options.nodes ?? []).map((node): [string, NodeClass] => [node.info.name, node])])
  const nowMs = () => Date.now()
  const queue = new PromptQueue(() => frames.send('status', { status: status() }, null))
  const status = () => ({ exec_info: { queue_remaining: queue.remaining } })
  const frames = createFrames({
    statusOf: status,
    runningNode: (client) => execution.runningNode(client),
    features: () => features(flags),
  })
  const console = createConsole(nowMs, (data, client) => {
    frames.send('logs', data, client)
    return frames.has(client)
  })
  const execution = createExecution({
    queue,
    frames,
    nodes,
    folders,
    stepMs: () => stepMs,
    faults: () => faults,
    log: console.line,
    nowMs,
  })
  const users = createUsers(folders.user, flags.multiUser === true)

  const world: World = {
    flags,
    folders,
    webRoot: resolve(options.webRoot ?? join(base, 'web')),
    queue,
    execution,
    frames,
    console,
    users,
    nodes,
    device: options.device ?? CPU,
    argv: ['main.py', '--cpu', '--listen', host],
    features: () => features(flags),
    nowMs,
  }
  const page = options.indexHtml === undefined ? demoPage() : Buffer.from(options.indexHtml)
  const { routes, fallback } = pageRoutes(world, options.webRoot === undefined ? page : undefined)
  const find = createRouter(
    [
      ...routes,
      socketRoute(),
      ...infoRoutes(world),
      ...queueRoutes(world),
      ...fileRoutes(world),
      ...userRoutes(world),
      ...logRoutes(world),
      ...assetRoutes(),
      ...managerRoutes(world),
    ],
    fallback,
  )
  const server = createHttp({
    flags,
    limit: flags.maxUploadSizeMb === undefined ? 100 * MB : Math.round(flags.maxUploadSizeMb * MB),
    log,
    find,
    acceptSocket: frames.accept,
    faultFor: createFaultFinder(() => faults),
  })
  await new Promise<void>((done, fail) => {
    server.once('error', () =>
      fail(
        new ComfyAuthError('usage', `Cannot listen on ${host}:${port}.`, {
          remedy: 'Choose another port, or 0 for a free one.',
        }),
      ),
    )
    server.listen(port, host, done)
  })
  const bound = (server.address() as AddressInfo).port
  console.line('Starting server\n')
  console.line(`To see the GUI go to: http://${host}:${bound}`)

  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${bound}`,
    port: bound,
    requests: log.entries,
    folders,
    clearRequests: log.clear,
    sockets: () => frames.count,
    setFaults(next) {
      faults = next
      execution.release()
    },
    setStepMs(ms) {
      stepMs = ms
    },
    async close() {
      execution.close()
      frames.close()
      const closed = new Promise<void>((done) => server.close(() => done()))
      server.closeAllConnections()
      await closed
      if (options.dataDir === undefined) rmSync(base, { recursive: true, force: true })
    },
  }
}
