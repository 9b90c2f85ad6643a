import { mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { writePublic } from '../../src/health/output.ts'
import { type Format, render } from '../../src/health/render.ts'
import { reportOf } from '../../src/health/report.ts'
import { readThresholds } from '../../src/health/thresholds.ts'
import { temporaryFolder } from '../support/cli.ts'
import { collected, DOWN, GIB, gpu, server } from './samples.ts'

const NOW = Date.UTC(2026, 0, 2, 3, 4, 5, 678)

function said(format: Format, what: Parameters<typeof collected>[0], flags = {}, more = {}): string {
  const none = { warn: [], crit: [], minFreeVram: undefined, maxPending: undefined, hasServers: true }
  const judged = reportOf(collected(what), readThresholds({ ...none, ...flags }))
  return render(judged, { format, verbose: false, streamed: false, nowMs: NOW, paint: (_state, text) => text, ...more })
}

const WHOLE = { servers: [server()], gpus: [gpu()] }

describe('nagios', () => {
  test('one line, status first, perfdata with ranges in base units', () => {
    const flags = { minFreeVram: '4GiB', warn: ['gpu_temperature=80', 'queue_pending=5'], crit: ['gpu_temperature=90'] }
    expect(said('nagios', WHOLE, flags)).toBe(
      'OK - http://127.0.0.1:8189: ComfyUI 0.33.0, 1 running, 2 pending, answered in 12 ms; 1 GPU' +
        " | 'response_time'=0.012s;;;0 'queue_pending'=2;5 'queue_running'=1" +
        " 'vram_free'=12884901888B;;4294967296:;0;17179869184 'vram_free_percent'=75%;;;0;100 'gpu_count'=1" +
        " 'gpu0_memory_free'=15032385536B;;;0;17179869184 'gpu0_memory_free_percent'=87.5%;;;0;100" +
        " 'gpu0_memory_used'=1073741824B;;;0;17179869184 'gpu0_memory_used_percent'=6.25%;;;0;100" +
        " 'gpu0_utilization'=7%;;;0;100 'gpu0_temperature'=46;80;90 'gpu0_power'=84.24 'gpu0_processes'=1\n",
    )
  })

  test('what is wrong comes first, the worst before all', () => {
    const line = said('nagios', { servers: [server(DOWN)], gpus: [gpu()] }, { warn: ['gpu_temperature=40'] })
    expect(line).toMatch(
      /^CRITICAL - server of http:\/\/127\.0\.0\.1:8189: cannot be reached[^;]*; gpu_temperature of gpu0: 46 C, should/,
    )
  })

  test('perfdata begins at the only bar, and labels hold neither = nor quote', () => {
    const line = said('nagios', { servers: [server({ ...DOWN, message: "a | b\n'c'=1" })] })
    expect(line.split('|')).toHaveLength(2)
    expect(line.trimEnd().split('\n')).toHaveLength(1)
  })

  test('several servers have labels of their own', () => {
    const line = said('nagios', { servers: [server(), server({ url: 'http://10.0.0.2:8189' })], gpus: [gpu()] })
    expect(line).toContain("'queue_pending 127.0.0.1:8189'=2 ")
    expect(line).toContain("'queue_pending 10.0.0.2:8189'=2 ")
  })

  test('-v puts each check on a line of its own', () => {
    const lines = said('nagios', WHOLE, { maxPending: 5 }, { verbose: true }).trimEnd().split('\n')
    expect(lines.slice(1)).toEqual([
      'OK server of http://127.0.0.1:8189: ComfyUI 0.33.0, 1 running, 2 pending, answered in 12 ms',
      'OK queue_pending of http://127.0.0.1:8189: 2',
    ])
  })
})

describe('prometheus', () => {
  test('names, units, labels and no timestamps', () => {
    const lines = said('prometheus', WHOLE).split('\n')
    for (const line of [
      'comfy_auth_server_up{url="http://127.0.0.1:8189"} 1',
      'comfy_auth_queue_pending_prompts{url="http://127.0.0.1:8189"} 2',
      'comfy_auth_gpu_memory_used_bytes{gpu="0",uuid="GPU-1"} 1073741824',
      'comfy_auth_gpu_utilization_ratio{gpu="0",uuid="GPU-1"} 0.07',
      'comfy_auth_gpu_temperature_celsius{gpu="0",uuid="GPU-1"} 46',
      'comfy_auth_gpu_power_watts{gpu="0",uuid="GPU-1"} 84.24',
      'comfy_auth_gpu_info{gpu="0",uuid="GPU-1",name="NVIDIA \\"X\\" | \\\\ Y",driver="595.71.05",vendor="nvidia",memory="dedicated"} 1',
      'comfy_auth_last_run_timestamp_seconds 1767323045',
      'comfy_auth_last_run_success 1',
      'comfy_auth_health_state 0',
    ]) {
      expect(lines).toContain(line)
    }
    for (const line of lines.filter((one) => one !== '' && !one.startsWith('#'))) {
      expect(line).toMatch(/^[a-z_]+(\{([a-z]+="([^"\\\n]|\\["\\])*",?)+\})? -?[\d.]+$/)
    }
  })

  test('an absent value is an absent series, and its family is not announced', () => {
    const text = said('prometheus', { gpus: [gpu({ temperatureC: null, eccErrors: null })] })
    expect(text).not.toMatch(/temperature|ecc|server_up/)
  })

  test('each family once, all its series together, no series twice', () => {
    const slices = [0, 1].map((slice) => gpu({ slice, uuid: null }))
    const text = said('prometheus', { servers: [server(), server()], gpus: [gpu(), ...slices, gpu()] })
    const series = text
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => line.slice(0, line.lastIndexOf(' ')))
    expect(new Set(series).size).toBe(series.length)
    const types = text.split('\n').filter((line) => line.startsWith('# TYPE'))
    expect(new Set(types).size).toBe(types.length)
    const families = series.map((one) => one.replace(/\{.*/, ''))
    expect(families.filter((name, i) => name !== families[i - 1])).toHaveLength(new Set(families).size)
  })

  test('down is 0, a refused key is neither up nor down', () => {
    expect(said('prometheus', { servers: [server(DOWN)] })).toContain(
      'comfy_auth_server_up{url="http://127.0.0.1:8189"} 0',
    )
    expect(said('prometheus', { servers: [server({ ...DOWN, state: 'unknown' })] })).not.toContain('server_up')
    expect(said('prometheus', { servers: [server({ state: 'unknown' })] })).toMatch(/server_up\S+ 1/)
  })

  test('a run past its own deadline was no success', () => {
    expect(said('prometheus', { overran: true })).toContain('comfy_auth_last_run_success 0\n')
  })
})

describe('json and text', () => {
  test('the guide’s members in its order, then ours', () => {
    const document = JSON.parse(said('json', WHOLE))
    expect(Object.keys(document)).toEqual(['schema', 'status', 'queue', 'device', 'vram', 'servers', 'gpus', 'checks'])
    expect(document).toMatchObject({
      schema: 1,
      status: 'ok',
      queue: { pending: 2, running: 1 },
      device: { name: 'cuda:0 NVIDIA', type: 'cuda' },
      vram: { total: 16 * GIB, free: 12 * GIB },
      gpus: [
        {
          index: 0,
          vendor: 'nvidia',
          memory: { kind: 'dedicated', total: 16 * GIB },
          temperatureC: 46,
          eccErrors: null,
        },
      ],
    })
  })

  test('a stream has a document a line', () => {
    expect(said('json', WHOLE, {}, { streamed: true }).trimEnd().split('\n')).toHaveLength(1)
  })

  test('text: GPUs, findings with their remedy, the verdict last', () => {
    const faults = [{ severity: 'warning', message: 'slowed down' }] as const
    const text = said('text', {
      servers: [server(DOWN)],
      gpus: [gpu({ faults }), gpu({ index: 1, memory: { kind: 'unified', total: 8 * GIB, used: null, free: GIB } })],
    })
    expect(text.split('\n')).toEqual([
      'gpu0     NVIDIA "X" | \\ Y, 14 GiB of 16 GiB free, 7 % busy, 46 °C, 84.2 W',
      'gpu1     NVIDIA "X" | \\ Y, 1 GiB of 8 GiB free (unified), 7 % busy, 46 °C, 84.2 W',
      'critical http://127.0.0.1:8189: cannot be reached: the connection was refused',
      '         Start it.',
      'warning  gpu_fault of gpu0: slowed down',
      'CRITICAL',
      '',
    ])
  })

  test('-v names processes; a stream says when', () => {
    const text = said('text', { gpus: [gpu()] }, {}, { verbose: true, streamed: true })
    expect(text).toContain('         5 python, 1 GiB\n')
    expect(text).toMatch(/^2026-01-02T03:04:05\.678Z\n/)
  })

  test('no name of others writes to the terminal', () => {
    const name = 'a\u001b[2J\u0007b\nc\u202e'
    const text = said(
      'text',
      { gpus: [gpu({ name, processes: [{ pid: 1, name, memory: null }] })] },
      {},
      { verbose: true },
    )
    expect(text.replaceAll('\n', '')).toMatch(/^[^\p{Cc}\p{Cf}]*$/u)
  })

  test('a hung driver is not "no GPU"', () => {
    const reports = [
      { vendor: 'nvidia', tool: 'nvidia-smi', outcome: 'hung', message: 'driver hung', remedy: '' } as const,
    ]
    expect(said('text', { reports })).toBe('critical gpu_tool of nvidia-smi: driver hung\nCRITICAL\n')
    expect(said('text', {})).toBe('no GPU tool found: the device is the CPU\nOK\n')
  })
})

describe('--output', () => {
  test('is 0644 whatever the umask, replaced whole, and nothing else stays behind', async () => {
    const dir = temporaryFolder()
    const path = join(dir, 'a.prom')
    await writeFile(path, 'old', { mode: 0o600 })
    const umask = process.umask(0o077)
    try {
      await writePublic(path, 'new\n')
    } finally {
      process.umask(umask)
    }
    expect(await readFile(path, 'utf8')).toBe('new\n')
    expect((await stat(path)).mode & 0o777).toBe(0o644)
    expect(await readdir(dir)).toEqual(['a.prom'])
  })

  test('a link is replaced, not followed', async () => {
    const dir = temporaryFolder()
    await writeFile(join(dir, 'target'), 'untouched')
    await symlink('target', join(dir, 'a.prom'))
    await writePublic(join(dir, 'a.prom'), 'new')
    expect(await readFile(join(dir, 'target'), 'utf8')).toBe('untouched')
  })

  test('a folder in its place, or none around it, is wrong usage and leaves nothing', async () => {
    const dir = temporaryFolder()
    await mkdir(join(dir, 'a.prom'))
    for (const path of [join(dir, 'a.prom'), join(dir, 'no/such/a.prom')]) {
      await expect(writePublic(path, 'x')).rejects.toMatchObject({ kind: 'usage', remedy: expect.stringMatching(/./) })
    }
    expect(await readdir(dir)).toEqual(['a.prom'])
  })
})
