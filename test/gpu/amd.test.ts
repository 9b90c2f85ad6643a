import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { gpusFromAmdSmi, gpusFromRocmSmi, probeAmd } from '../../src/gpu/amd.ts'
import { capAt, memoryOf } from '../../src/gpu/amd-sysfs.ts'
import { unknownGpu } from '../../src/gpu/gpu.ts'
import { fakeMachine, GIB, MEMINFO, MIB, says } from './fake-machine.ts'

const METRIC = {
  gpu: 0,
  usage: { gfx_activity: { value: 94, unit: '%' }, umc_activity: { value: 12, unit: '%' } },
  power: { socket_power: { value: 235, unit: 'W' } },
  temperature: { edge: 'N/A', hotspot: { value: 72, unit: 'C' }, mem: { value: '60', unit: '°C' } },
  mem_usage: {
    total_vram: { value: 65536, unit: 'MB' },
    used_vram: { value: 27488, unit: 'MB' },
    free_vram: { value: 38048, unit: 'MB' },
    total_gtt: { value: 128000, unit: 'MB' },
    used_gtt: { value: 12, unit: 'MB' },
  },
}

describe('AMD by amd-smi', () => {
  test.each([
    ['ROCm 6: a bare list', JSON.stringify([METRIC])],
    ['ROCm 7: gpu_data', JSON.stringify({ gpu_data: [METRIC] })],
    ['a warning before it', `WARNING: [User is missing]\n${JSON.stringify([METRIC], null, 2)}`],
    ['printed twice', `${JSON.stringify([METRIC])}\n${JSON.stringify([METRIC])}`],
  ])('%s', (_name, text) => {
    expect(gpusFromAmdSmi(text)).toEqual([
      {
        ...unknownGpu('amd', 0, 'dedicated', 'amd-smi'),
        memory: { kind: 'dedicated', total: 65536 * MIB, used: 27488 * MIB, free: 38048 * MIB },
        utilizationPercent: 94,
        temperatureC: 72,
        memoryTemperatureC: 60,
        powerW: 235,
      },
    ])
  })

  test('numbers bare or as text, and "N/A" in place of a whole object', () => {
    const text = JSON.stringify([
      { gpu: '1', usage: 'N/A', power: { average_socket_power: '45' }, temperature: { edge: 40 } },
    ])
    expect(gpusFromAmdSmi(text)).toMatchObject([
      {
        index: 1,
        utilizationPercent: null,
        powerW: 45,
        temperatureC: 40,
        memory: { total: null, used: null, free: null },
      },
    ])
  })

  test('name, driver and uuid come from static and list, joined by amd-smi’s own number', () => {
    const fixed = JSON.stringify([
      { gpu: 0, asic: { market_name: 'AMD Instinct MI210' }, driver: { version: '6.8.5' } },
    ])
    const list = JSON.stringify([
      { gpu: 1, uuid: 'other' },
      { gpu: 0, uuid: 'ff-0000' },
    ])
    expect(gpusFromAmdSmi(JSON.stringify([METRIC]), fixed, list)[0]).toMatchObject({
      name: 'AMD Instinct MI210',
      driver: '6.8.5',
      uuid: 'ff-0000',
    })
  })

  test('an APU: VRAM and GTT together, never more than main memory', () => {
    const memory = memoryOf({
      total: 512 * MIB,
      used: 100 * MIB,
      free: null,
      totalGtt: 110 * GIB,
      usedGtt: GIB,
      apu: false,
    })
    expect(memory).toEqual({ kind: 'shared', total: 110.5 * GIB, used: GIB + 100 * MIB, free: 109.5 * GIB - 100 * MIB })
    const gpu = {
      ...unknownGpu('amd', 0, 'shared', 'x'),
      memory: { kind: 'shared', total: 132 * GIB, used: GIB, free: 1 } as const,
    }
    expect(capAt(gpu, 128 * GIB).memory).toEqual({ kind: 'shared', total: 128 * GIB, used: GIB, free: 127 * GIB })
  })

  test('amd-smi: a few GiB of VRAM whose load is not told are an APU’s, with the load told a small card’s', () => {
    const mem_usage = { ...METRIC.mem_usage, total_vram: { value: 4096, unit: 'MB' } }
    const kinds = ['N/A', METRIC.usage.umc_activity].map((umc_activity) => {
      const usage = { ...METRIC.usage, umc_activity }
      return gpusFromAmdSmi(JSON.stringify([{ ...METRIC, mem_usage, usage }]))[0]!.memory.kind
    })
    expect(kinds).toEqual(['shared', 'dedicated'])
  })

  test('a card whose GTT is larger than it is stays a card', () => {
    const memory = memoryOf({ total: 8 * GIB, used: 0, free: null, totalGtt: 32 * GIB, usedGtt: 0, apu: false })
    expect(memory).toEqual({ kind: 'dedicated', total: 8 * GIB, used: 0, free: 8 * GIB })
  })

  test('a hung amd-smi is a hung driver', async () => {
    const probe = await probeAmd(await fakeMachine({ 'amd-smi': "trap '' TERM; /bin/sleep 5" }), 200)
    expect(probe).toMatchObject({ gpus: [], reports: [{ vendor: 'amd', outcome: 'hung' }] })
  })
})

describe('AMD by rocm-smi and by the kernel', () => {
  const CARD = {
    'GPU use (%)': '68',
    'VRAM Total Memory (B)': '68719476736',
    'VRAM Total Used Memory (B)': '28823961600',
    'Temperature (Sensor edge) (C)': '72.0',
    'Average Graphics Package Power (W)': '235.5',
    'Card series': 'AMD INSTINCT MI250',
    'Unique ID': '0xabc',
  }

  test('rocm-smi says everything as text', () => {
    expect(gpusFromRocmSmi(JSON.stringify({ card0: CARD, system: { 'Driver version': '6.1.1' } }))).toEqual([
      {
        ...unknownGpu('amd', 0, 'dedicated', 'rocm-smi'),
        name: 'AMD INSTINCT MI250',
        uuid: '0xabc',
        driver: '6.1.1',
        memory: { kind: 'dedicated', total: 68719476736, used: 28823961600, free: 39895515136 },
        utilizationPercent: 68,
        temperatureC: 72,
        powerW: 235.5,
      },
    ])
  })

  test('ROCm 5’s names', () => {
    const card = { 'GPU use %': '5', 'Total memory (B)': '100', 'Used memory (B)': '40' }
    expect(gpusFromRocmSmi(JSON.stringify({ card3: card }))).toMatchObject([
      { index: 3, utilizationPercent: 5, memory: { total: 100, used: 40, free: 60 } },
    ])
  })

  test('an amd-smi that prints nothing makes way for rocm-smi', async () => {
    const machine = await fakeMachine({ 'amd-smi': 'exit 0', 'rocm-smi': says(JSON.stringify({ card0: CARD })) })
    expect((await probeAmd(machine, 5_000)).gpus).toMatchObject([{ source: 'rocm-smi', powerW: 235.5 }])
  })

  const SYSFS = {
    'sys/class/drm/card0/device/vendor': '0x8086\n',
    'sys/class/drm/card1-DP-1/device/vendor': '0x1002\n',
    'sys/class/drm/card1/device/vendor': '0x1002\n',
    'sys/class/drm/card1/device/mem_info_vram_total': '17163091968\n',
    'sys/class/drm/card1/device/mem_info_vram_used': '1000000000\n',
    'sys/class/drm/card1/device/mem_info_gtt_total': '33000000000\n',
    'sys/class/drm/card1/device/mem_info_gtt_used': '5\n',
    'sys/class/drm/card1/device/gpu_busy_percent': '0\n',
    'sys/class/drm/card1/device/mem_busy_percent': '0\n',
    'sys/class/drm/card1/device/unique_id': 'abcd1234\n',
    'sys/class/drm/card1/device/hwmon/hwmon3/temp1_input': '43000\n',
    'sys/class/drm/card1/device/hwmon/hwmon3/power1_average': '26200000\n',
    'proc/meminfo': MEMINFO,
  }

  test('without a tool the kernel tells, and "No JSON data" is without a tool', async () => {
    const machine = await fakeMachine({ 'rocm-smi': says('WARNING: No JSON data to report') }, SYSFS)
    expect((await probeAmd(machine, 5_000)).gpus).toEqual([
      {
        ...unknownGpu('amd', 0, 'dedicated', 'sysfs'),
        uuid: '0xabcd1234',
        memory: { kind: 'dedicated', total: 17163091968, used: 1000000000, free: 16163091968 },
        utilizationPercent: 0,
        temperatureC: 43,
        powerW: 26.2,
      },
    ])
  })

  test('an APU is known by the missing load of its memory', async () => {
    const machine = await fakeMachine({}, SYSFS)
    await rm(join(machine.root, 'sys/class/drm/card1/device/mem_busy_percent'))
    expect((await probeAmd(machine, 5_000)).gpus[0]!.memory).toMatchObject({
      kind: 'shared',
      total: 17163091968 + 33000000000,
    })
  })

  test('a driver that hangs while a file is read is a hung driver', async () => {
    const machine = await fakeMachine({}, SYSFS)
    await rm(join(machine.root, 'bin/grep'))
    const hanging = await fakeMachine({ 'rocm-smi': 'exit 0' })
    await rm(join(hanging.root, 'bin/grep'))
    await writeFile(join(hanging.root, 'bin/grep'), '#!/bin/sh\nexec /bin/sleep 5\n', { mode: 0o755 })
    const env = { PATH: join(hanging.root, 'bin') }
    const probe = await probeAmd({ ...machine, env }, 200)
    expect(probe.reports).toMatchObject([{ tool: 'amdgpu', outcome: 'hung' }])
  })

  test.each(['amd-smi', 'rocm-smi'])('garbage by %s is said where the kernel knows no card either', async (tool) => {
    const probe = await probeAmd(await fakeMachine({ [tool]: says('Traceback (most recent call last)') }), 5_000)
    expect(probe).toMatchObject({ gpus: [], reports: [{ tool, outcome: 'unreadable' }] })
  })

  test('a machine without a card has nothing', async () => {
    expect(await probeAmd(await fakeMachine({}), 1_000)).toEqual({ gpus: [], reports: [] })
  })
})
