import { describe, expect, test } from 'vitest'
import type { Outcome } from '../../src/gpu/gpu.ts'
import { reportOf } from '../../src/health/report.ts'
import { readThresholds, type ThresholdFlags } from '../../src/health/thresholds.ts'
import { collected, DOWN, GIB, gpu, server } from './samples.ts'

function thresholds(flags: Partial<ThresholdFlags>) {
  return readThresholds({
    warn: [],
    crit: [],
    minFreeVram: undefined,
    maxPending: undefined,
    hasServers: false,
    ...flags,
  })
}

function judged(what: Parameters<typeof collected>[0], flags: Partial<ThresholdFlags> = {}) {
  return reportOf(collected(what), thresholds(flags)).report
}

describe('the state of the whole', () => {
  test('nothing wrong is ok; a box without any GPU tool is the CPU with its main memory', () => {
    expect(judged({})).toMatchObject({
      status: 'ok',
      device: { name: 'cpu', type: 'cpu' },
      vram: { total: 8 * GIB, free: 4 * GIB },
      queue: { pending: null, running: null },
    })
  })

  test('a server’s own words stand first: the guide’s four members are the first server’s', () => {
    const second = server({ url: 'http://10.0.0.2', ...DOWN })
    const report = judged({ servers: [server(), second], gpus: [gpu()] })
    expect(report).toMatchObject({ status: 'critical', queue: { pending: 2, running: 1 }, device: { type: 'cuda' } })
    expect(report.servers).toHaveLength(2)
  })

  test.each([
    ['ok', 'ok'],
    ['no-device', 'ok'],
    ['absent', 'ok'],
    ['degraded', 'warning'],
    ['hung', 'critical'],
    ['lost', 'critical'],
    ['driver', 'critical'],
    ['denied', 'unknown'],
    ['unreadable', 'unknown'],
  ] satisfies [Outcome, string][])('a tool that is %s makes it %s', (outcome, status) => {
    const reports = [{ vendor: 'nvidia', tool: 'nvidia-smi', outcome, message: 'x', remedy: '' } as const]
    const report = judged({ reports })
    expect(report.status).toBe(status)
    if (status !== 'ok') expect(report.device.type).toBeNull() // nobody may take it for a machine with a CPU alone
  })

  test('a GPU’s own complaint counts', () => {
    const faults = [{ severity: 'critical', message: 'replace it' }] as const
    expect(judged({ gpus: [gpu({ faults })] })).toMatchObject({
      status: 'critical',
      checks: [{ name: 'gpu_fault', target: 'gpu0', message: 'replace it' }],
    })
  })

  test('critical outranks warning, warning outranks unknown', () => {
    const servers = [server({ state: 'unknown' }), server({ url: 'http://x' })]
    expect(judged({ servers, gpus: [gpu()] }).status).toBe('unknown')
    expect(judged({ servers, gpus: [gpu()] }, { warn: ['gpu_temperature=40'] }).status).toBe('warning')
    expect(judged({ servers, gpus: [gpu()] }, { crit: ['gpu_temperature=40'] }).status).toBe('critical')
  })

  test('ComfyUI on cuda with no tool that shows its GPU is a warning, on this machine only', () => {
    expect(judged({ servers: [server()] })).toMatchObject({ status: 'warning', checks: [{}, { name: 'gpu_missing' }] })
    expect(judged({ servers: [server()], gpus: null }).status).toBe('ok')
    expect(judged({ servers: [server({ url: 'http://10.0.0.2:8189' })] }).status).toBe('ok')
    expect(judged({ servers: [server()], gpus: [gpu()] }).status).toBe('ok')
  })

  test('our own deadline is unknown', () => {
    expect(judged({ servers: [server()], gpus: [gpu()], overran: true }).status).toBe('unknown')
  })
})

describe('thresholds', () => {
  test('warning and critical ranges, each with its value', () => {
    const flags = { warn: ['gpu_temperature=40'], crit: ['gpu_temperature=90'] }
    expect(judged({ gpus: [gpu()] }, flags).checks).toEqual([
      {
        name: 'gpu_temperature',
        target: 'gpu0',
        status: 'warning',
        message: '46 °C, should be 40 °C or less',
        remedy: '',
        value: 46,
        unit: '',
        warn: '40',
        crit: '90',
      },
    ])
  })

  test.each([
    ['the value is absent', { gpus: [gpu({ temperatureC: null })] }],
    ['there is no GPU', {}],
    ['no GPU was looked at', { gpus: null }],
  ])('where %s it is unknown, not ok', (_why, what) => {
    expect(judged(what, { warn: ['gpu_temperature=90'] })).toMatchObject({
      status: 'unknown',
      checks: [{ name: 'gpu_temperature', status: 'unknown', value: null, warn: '90' }],
    })
  })

  test('one GPU of two that says nothing is unknown', () => {
    const gpus = [gpu(), gpu({ index: 1, temperatureC: null })]
    expect(judged({ gpus }, { warn: ['gpu_temperature=90'] }).checks.map(({ status }) => status)).toEqual([
      'ok',
      'unknown',
    ])
  })

  test('--min-free-vram looks at what the server says, and without one at the GPUs', () => {
    const both = { servers: [server()], gpus: [gpu()] }
    expect(judged(both, { minFreeVram: '13GiB', hasServers: true })).toMatchObject({
      status: 'critical',
      checks: [{}, { name: 'vram_free', crit: '13958643712:', message: '12 GiB, should be 13 GiB or more' }],
    })
    expect(judged({ gpus: [gpu()] }, { minFreeVram: '13GiB' }).status).toBe('ok')
    expect(judged({ gpus: [gpu()] }, { minFreeVram: '90%' }).checks).toMatchObject([
      { name: 'gpu_memory_free_percent', status: 'critical', value: 87.5, unit: '%' },
    ])
  })

  test('--min-free-vram on a server that is down is unknown beside its critical', () => {
    const report = judged({ servers: [server(DOWN)], gpus: null }, { minFreeVram: '1GiB', hasServers: true })
    expect(report.checks.map(({ name, status }) => [name, status])).toEqual([
      ['server', 'critical'],
      ['vram_free', 'unknown'],
    ])
  })

  test('a percentage of nothing is unknown', () => {
    const { summary } = server()
    const servers = [server({ summary: { ...summary, vram: { total: 0, free: 0 } } })]
    expect(judged({ servers, gpus: null }, { minFreeVram: '20%', hasServers: true }).status).toBe('unknown')
  })

  test('--max-pending is critical above it', () => {
    const what = { servers: [server()], gpus: null }
    expect(judged(what, { maxPending: 2 }).status).toBe('ok')
    expect(judged(what, { maxPending: 1 })).toMatchObject({ status: 'critical', checks: [{}, { crit: '1' }] })
    expect(judged(what, { maxPending: 0 }).status).toBe('critical')
  })

  test('MIG: memory is asked of the slices, heat of the card', () => {
    const slices = [0, 1].map((slice) =>
      gpu({
        slice,
        uuid: `MIG-${slice}`,
        memory: { kind: 'mig', total: 4 * GIB, used: 0, free: slice * GIB },
        temperatureC: null,
      }),
    )
    const report = judged({ gpus: [gpu(), ...slices] }, { crit: ['gpu_memory_free=1GiB:', 'gpu_temperature=90'] })
    expect(report.checks.map(({ name, target, status }) => [name, target, status])).toEqual([
      ['gpu_memory_free', 'gpu0/0', 'critical'],
      ['gpu_memory_free', 'gpu0/1', 'ok'],
      ['gpu_temperature', 'gpu0', 'ok'],
    ])
  })

  test('an integrated GPU beside a card is shown and not judged; alone it is judged', () => {
    const integrated = gpu({ vendor: 'amd', memory: { kind: 'shared', total: GIB, used: GIB, free: 0 } })
    expect(judged({ gpus: [integrated, gpu()] }, { minFreeVram: '1GiB' })).toMatchObject({
      status: 'ok',
      device: { type: 'cuda' },
    })
    expect(judged({ gpus: [integrated] }, { minFreeVram: '1GiB' }).status).toBe('critical')
  })

  test('a GPU that fell off is seen by counting', () => {
    expect(judged({ gpus: [gpu()] }, { crit: ['gpu_count=2:'] }).status).toBe('critical')
  })

  test.each([
    { warn: ['gpu_heat=10'] },
    { warn: ['gpu_temperature'] },
    { warn: ['gpu_temperature='] },
    { crit: ['=10'] },
    { crit: ['toString=10'] },
    { crit: ['queue_pending=10GiB'] },
    { minFreeVram: '4QiB' },
    { minFreeVram: '@4GiB' },
    { minFreeVram: '-4GiB' },
    { minFreeVram: '1:2' },
    { minFreeVram: '~' },
    { minFreeVram: '' },
  ])('%j is wrong usage', (flags) => {
    expect(() => thresholds(flags)).toThrow(expect.objectContaining({ kind: 'usage' }))
  })
})
