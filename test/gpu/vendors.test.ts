import { describe, expect, test } from 'vitest'
import { gpusFromMac, probeApple } from '../../src/gpu/apple.ts'
import { unknownGpu } from '../../src/gpu/gpu.ts'
import { probeIntel } from '../../src/gpu/intel.ts'
import { probeJetson } from '../../src/gpu/jetson.ts'
import { probeGpus } from '../../src/gpu/probe.ts'
import { gpusFromRegistry, probeWindows } from '../../src/gpu/windows.ts'
import { captured, fakeMachine, GIB, MEMINFO, MIB, says } from './fake-machine.ts'

describe('Intel', () => {
  const DEVICE = {
    device_id: 0,
    device_name: 'Intel(R) Graphics [0xe211]',
    memory_physical_size_byte: '25669140480',
    memory_free_size_byte: '25447600128',
    uuid: '00000000-0000-0003-0000-0000e2118086',
  }

  test('memory by xpu-smi; what is used is not told', async () => {
    const machine = await fakeMachine({ 'xpu-smi': says(JSON.stringify({ device_list: [DEVICE] })) })
    expect(await probeIntel(machine, 5_000)).toMatchObject({
      gpus: [
        {
          name: DEVICE.device_name,
          memory: { total: 25669140480, used: null, free: 25447600128 },
          utilizationPercent: null,
        },
      ],
      reports: [{ outcome: 'ok' }],
    })
  })

  test('an Arc A310 says N/A', async () => {
    const device = { ...DEVICE, memory_physical_size_byte: 'N/A', memory_free_size_byte: 'N/A' }
    const machine = await fakeMachine({ 'xpu-smi': says(JSON.stringify({ device_list: [device] })) })
    expect((await probeIntel(machine, 5_000)).gpus[0]!.memory).toMatchObject({ total: null, free: null })
  })

  test.each([
    ['garbage', 'unreadable'],
    ['{"device_list": 7}', 'unreadable'],
  ])('%s is %s', async (text, outcome) => {
    const probe = await probeIntel(await fakeMachine({ 'xpu-smi': says(text) }), 5_000)
    expect(probe).toMatchObject({ gpus: [], reports: [{ outcome }] })
  })

  test('a tool that finds no device is nothing found', async () => {
    const machine = await fakeMachine({ 'xpu-smi': says('{"errno": 1, "error": "No device discovered"}', 1) })
    expect(await probeIntel(machine, 5_000)).toEqual({ gpus: [], reports: [] })
  })
})

describe('Apple', () => {
  const REGISTRY = '"PerformanceStatistics" = {"In use system memory"=3221225472,"Device Utilization %"=17}'

  test('Apple Silicon: main memory, what the accelerator uses of it, and nothing about what is free', async () => {
    const displays = {
      SPDisplaysDataType: [
        { _name: 'Apple M3 Max', sppci_model: 'Apple M3 Max', spdisplays_vendor: 'sppci_vendor_Apple' },
      ],
    }
    const machine = await fakeMachine({
      system_profiler: says(JSON.stringify(displays)),
      sysctl: says('68719476736'),
      ioreg: says(REGISTRY),
    })
    expect((await probeApple({ ...machine, platform: 'darwin' }, 5_000)).gpus).toEqual([
      {
        ...unknownGpu('apple', 0, 'unified', 'system_profiler'),
        name: 'Apple M3 Max',
        memory: { kind: 'unified', total: 68719476736, used: 3221225472, free: null },
        utilizationPercent: 17,
      },
    ])
  })

  test('the cards of an Intel Mac', () => {
    const displays = {
      SPDisplaysDataType: [
        { sppci_model: 'AMD Radeon Pro 5300M', spdisplays_vendor: 'sppci_vendor_amd', spdisplays_vram: '4 GB' },
        { sppci_model: 'Intel UHD Graphics 630', spdisplays_vendor: 'Intel', spdisplays_vram_shared: '1536 MB' },
      ],
    }
    expect(gpusFromMac(JSON.stringify(displays), '', '')).toMatchObject([
      { vendor: 'amd', memory: { kind: 'dedicated', total: 4 * GIB, used: null } },
      { vendor: 'intel', memory: { kind: 'shared', total: 1536 * MIB } },
    ])
  })
})

describe('Jetson and Windows', () => {
  const BOARD = {
    'proc/device-tree/model': 'NVIDIA Jetson AGX Orin Developer Kit\0',
    'proc/meminfo': MEMINFO,
    'sys/devices/platform/tegra-soc/gpu.0/load': '335\n',
    'sys/class/thermal/thermal_zone0/type': 'cpu-thermal\n',
    'sys/class/thermal/thermal_zone1/type': 'gpu-thermal\n',
    'sys/class/thermal/thermal_zone1/temp': '51250\n',
  }

  test('a Jetson: load in thousandths, its own thermal zone, main memory', async () => {
    expect((await probeJetson(await fakeMachine({}, BOARD), 5_000)).gpus).toMatchObject([
      {
        name: 'NVIDIA Jetson AGX Orin Developer Kit',
        memory: { kind: 'unified', total: 128 * GIB, used: 28 * GIB, free: 100 * GIB },
        utilizationPercent: 33.5,
        temperatureC: 51.25,
      },
    ])
  })

  const REGISTRY = [
    'HKEY_LOCAL_MACHINE\\SYSTEM\\ControlSet001\\Control\\Class\\{4d36e968}\\0000',
    '    DriverDesc    REG_SZ    AMD Radeon RX 7900 XTX',
    '    DriverVersion    REG_SZ    31.0.24002.92',
    '    MatchingDeviceId    REG_SZ    PCI\\VEN_1002&DEV_744C',
    '    HardwareInformation.qwMemorySize    REG_QWORD    0x5fe000000',
    '',
    'HKEY_LOCAL_MACHINE\\SYSTEM\\ControlSet001\\Control\\Class\\{4d36e968}\\0000\\Settings',
    '    MatchingDeviceId    REG_SZ    PCI\\VEN_1002&DEV_744C',
    '',
    'HKEY_LOCAL_MACHINE\\SYSTEM\\ControlSet001\\Control\\Class\\{4d36e968}\\0001',
    '    DriverDesc    REG_SZ    NVIDIA GeForce RTX 4090',
    '    MatchingDeviceId    REG_SZ    PCI\\VEN_10DE&DEV_2684',
    '    HardwareInformation.qwMemorySize    REG_QWORD    0x600000000',
    '',
    'HKEY_LOCAL_MACHINE\\SYSTEM\\ControlSet001\\Control\\Class\\{4d36e968}\\0002',
    '    DriverDesc    REG_SZ    Intel(R) Arc(TM) A770 Graphics',
    '    MatchingDeviceId    REG_SZ    PCI\\VEN_8086&DEV_56A0',
    '    HardwareInformation.qwMemorySize    REG_BINARY    0000000004000000',
  ].join('\r\n')

  test('Windows: totals above 4 GiB from the registry, NVIDIA left to its own tool', () => {
    expect(gpusFromRegistry(REGISTRY)).toEqual([
      {
        ...unknownGpu('amd', 0, 'dedicated', 'registry'),
        name: 'AMD Radeon RX 7900 XTX',
        driver: '31.0.24002.92',
        memory: { kind: 'dedicated', total: 0x5fe000000, used: null, free: null },
      },
      {
        ...unknownGpu('intel', 2, 'dedicated', 'registry'),
        name: 'Intel(R) Arc(TM) A770 Graphics',
        memory: { kind: 'dedicated', total: 16 * GIB, used: null, free: null },
      },
    ])
  })

  test('no registry tool is nothing found', async () => {
    expect(await probeWindows({ ...(await fakeMachine({})), platform: 'win32' }, 1_000)).toEqual({
      gpus: [],
      reports: [],
    })
  })

  test('all vendors at once: a box without any tool has nothing, and that is no failure', async () => {
    expect(await probeGpus(await fakeMachine({}), 2_000)).toEqual({ gpus: [], reports: [] })
  })

  test('two vendors in one box are both shown', async () => {
    const machine = await fakeMachine({
      'nvidia-smi': captured('h100.load'),
      'amd-smi': says('[{"gpu":0,"usage":{"gfx_activity":4}}]'),
    })
    expect((await probeGpus(machine, 5_000)).gpus.map(({ vendor }) => vendor)).toEqual(['nvidia', 'amd'])
  })

  test('a Jetson whose nvidia-smi says nothing of worth is shown once', async () => {
    const machine = await fakeMachine({ 'nvidia-smi': 'exit 0' }, BOARD)
    const { gpus, reports } = await probeGpus(machine, 5_000)
    expect(gpus).toHaveLength(1)
    expect(reports.map(({ outcome }) => outcome)).toEqual(['ok'])
  })
})
