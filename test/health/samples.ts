import { type Gpu, unknownGpu } from '../../src/gpu/gpu.ts'
import type { Collected } from '../../src/health/collect.ts'
import type { ServerReport } from '../../src/health/server.ts'
import { UNAVAILABLE } from '../../src/health/summary.ts'

export const GIB = 1_073_741_824

export function gpu(changes: Partial<Gpu> = {}): Gpu {
  return {
    ...unknownGpu('nvidia', 0, 'dedicated', 'nvidia-smi'),
    name: 'NVIDIA "X" | \\ Y',
    uuid: 'GPU-1',
    driver: '595.71.05',
    memory: { kind: 'dedicated', total: 16 * GIB, used: GIB, free: 14 * GIB },
    utilizationPercent: 7,
    temperatureC: 46,
    powerW: 84.24,
    processes: [{ pid: 5, name: 'python', memory: GIB }],
    ...changes,
  }
}

export function server(changes: Partial<ServerReport> = {}): ServerReport {
  return {
    url: 'http://127.0.0.1:8189',
    state: 'ok',
    message: 'ComfyUI 0.33.0, 1 running, 2 pending, answered in 12 ms',
    remedy: '',
    summary: {
      status: 'ok',
      queue: { pending: 2, running: 1 },
      device: { name: 'cuda:0 NVIDIA', type: 'cuda' },
      vram: { total: 16 * GIB, free: 12 * GIB },
    },
    version: '0.33.0',
    responseSeconds: 0.012,
    devices: [],
    ...changes,
  }
}

export const DOWN: Partial<ServerReport> = {
  state: 'critical',
  message: 'cannot be reached: the connection was refused',
  remedy: 'Start it.',
  summary: UNAVAILABLE,
  version: null,
  responseSeconds: null,
}

export function collected(changes: {
  readonly servers?: readonly ServerReport[]
  readonly gpus?: readonly Gpu[] | null
  readonly reports?: NonNullable<Collected['local']>['reports']
  readonly overran?: boolean
}): Collected {
  const { servers = [], gpus = [], reports = [], overran = false } = changes
  return {
    servers,
    overran,
    local: gpus === null ? undefined : { gpus, reports, memory: { total: 8 * GIB, free: 4 * GIB } },
  }
}
