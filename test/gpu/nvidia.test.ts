import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { probeNvidia } from '../../src/gpu/nvidia.ts'
import { fieldsFor, parseProcesses, parseRows } from '../../src/gpu/nvidia-csv.ts'
import type { Machine } from '../../src/gpu/run-tool.ts'
import { captured, fakeMachine, fixture, smi } from './fake-machine.ts'

const MIB = 1_048_576
const MEMINFO = 'MemTotal:       125513944 kB\nMemFree:         1000000 kB\nMemAvailable:   100000000 kB\n'

function probe(machine: Machine, timeoutMs = 5_000) {
  return probeNvidia(machine, timeoutMs)
}

/** A whole answer made of one row of the fixtures with some cells changed. */
async function row(changes: Readonly<Record<string, string>>, from = 'rtx-4080-super.load'): Promise<string> {
  const [header, cells] = (await fixture(`${from}.query-gpu.csv`)).split('\n') as [string, string]
  const values = cells.split(', ')
  for (const [field, value] of Object.entries(changes)) values[fieldsFor().indexOf(field)] = value
  return `${header}\n${values.join(', ')}`
}

async function machineSaying(answer: string, code = 0, files = {}): Promise<Machine> {
  const script = `/bin/cat <<'EOF'\n${answer}\nEOF\nexit ${code}`
  return fakeMachine({ 'nvidia-smi': smi({ '--query-gpu=*': script, '--query-compute-apps=*': 'exit 0' }) }, files)
}

describe('what nvidia-smi printed on real machines', () => {
  test('RTX 4080 SUPER under load: numbers in bytes, absent ones null, processes with their memory', async () => {
    const { gpus, reports } = await probe(await fakeMachine({ 'nvidia-smi': captured('rtx-4080-super.load') }))
    expect(reports.map(({ outcome }) => outcome)).toEqual(['ok'])
    expect(gpus).toEqual([
      {
        index: 0,
        slice: null,
        name: 'NVIDIA GeForce RTX 4080 SUPER',
        vendor: 'nvidia',
        uuid: 'GPU-00000000-0000-0000-0000-000000000000',
        driver: '595.71.05',
        memory: { kind: 'dedicated', total: 16376 * MIB, used: 1474 * MIB, free: 14470 * MIB },
        utilizationPercent: 7,
        temperatureC: 46,
        memoryTemperatureC: null,
        fanPercent: 0,
        powerW: 84.24,
        eccErrors: null,
        processes: [
          { pid: 2165, name: '/usr/bin/kwin_wayland', memory: 25 * MIB },
          { pid: 5022, name: 'ffmpeg', memory: 503 * MIB },
          { pid: 5021, name: 'ffmpeg', memory: 360 * MIB },
        ],
        faults: [],
        source: 'nvidia-smi',
      },
    ])
  })

  test.each([
    ['rtx-4080-super.idle', { used: 596, free: 15348 }, 0, 26.2, 0],
    ['h100.idle', { used: 0, free: 81081 }, 0, 69.85, null],
    ['h100.load', { used: 19818, free: 61263 }, 100, 631.95, null],
    ['l40s.idle', { used: 0, free: 45460 }, 100, 144.97, null],
    ['l40s.load', { used: 1235, free: 44225 }, 9, 110.23, null],
    ['rtx-2080-super-windows.load', { used: 1366, free: 6622 }, 7, 97.99, 38],
  ])('%s: 0 is 0 and absent is null', async (name, memory, busy, power, fan) => {
    const { gpus } = await probe(await fakeMachine({ 'nvidia-smi': captured(name) }))
    expect(gpus).toHaveLength(1)
    const gpu = gpus[0]!
    expect(gpu.memory).toMatchObject({ used: memory.used * MIB, free: memory.free * MIB })
    expect([gpu.utilizationPercent, gpu.powerW, gpu.fanPercent]).toEqual([busy, power, fan])
  })

  test('Windows processes keep their paths, and a memory nobody knows is null', async () => {
    const { gpus } = await probe(await fakeMachine({ 'nvidia-smi': captured('rtx-2080-super-windows.idle') }))
    expect(gpus[0]!.processes).toContainEqual({ pid: 2140, name: 'C:\\Windows\\System32\\dwm.exe', memory: null })
  })

  test('MIG: the card and behind it each slice with name, uuid and memory of its own', async () => {
    const { gpus } = await probe(await fakeMachine({ 'nvidia-smi': captured('h100-mig.load') }))
    expect(gpus.map(({ slice, name, memory }) => [slice, name, memory.kind])).toEqual([
      [null, 'NVIDIA H100 80GB HBM3', 'dedicated'],
      [0, 'MIG 3g.40gb', 'mig'],
      [1, 'MIG 2g.20gb', 'mig'],
      [2, 'MIG 1g.10gb', 'mig'],
      [3, 'MIG 1g.10gb', 'mig'],
    ])
    expect(gpus[0]!.utilizationPercent).toBeNull()
    expect(gpus[1]!.memory).toEqual({ kind: 'mig', total: 40448 * MIB, used: 11091 * MIB, free: 29357 * MIB })
    expect(gpus[2]).toMatchObject({ uuid: 'MIG-00000001-0000-0000-0000-000000000001', driver: '590.48.01' })
    expect(gpus[2]!.memory.free).toBe(20080 * MIB)
  })

  test('MIG without the right to ask for memory: slices are there, their memory null', async () => {
    const script = smi({
      '--query-gpu=*': 'h100-mig.load.query-gpu.csv',
      '--query-compute-apps=*': 'exit 4',
      '-L': 'h100-mig.list.txt',
      '-q': 'exit 4',
    })
    const { gpus } = await probe(await fakeMachine({ 'nvidia-smi': script }))
    expect(gpus).toHaveLength(5)
    expect(gpus[1]!.memory).toEqual({ kind: 'mig', total: null, used: null, free: null })
    expect(gpus[0]!.processes).toBeNull()
  })
})

describe('values that are not there', () => {
  test.each([
    '',
    'N/A',
    '[N/A]',
    '[Not Supported]',
    'Not Supported',
    '[Insufficient Permissions]',
    '[Unknown Error]',
    '[Function Not Found]',
    '[Requested functionality has been deprecated]',
    'ERR!',
    '-1 MiB',
  ])('%j is null in every number', async (token) => {
    const cells = {
      'memory.used': token,
      'utilization.gpu': token,
      'temperature.gpu': token,
      'power.draw': token,
      'fan.speed': token,
      'ecc.errors.uncorrected.volatile.total': token,
    }
    const { gpus } = await probe(await machineSaying(await row(cells)))
    const { memory, utilizationPercent, temperatureC, powerW, fanPercent, eccErrors, faults } = gpus[0]!
    if (token !== '-1 MiB') expect(temperatureC).toBeNull()
    expect([memory.used, utilizationPercent, powerW, fanPercent, eccErrors]).toEqual([null, null, null, null, null])
    expect(memory).toMatchObject({ kind: 'dedicated', total: 16376 * MIB })
    expect(faults).toEqual([])
  })

  test('GB10: no memory of its own, so main memory, and processes still counted', async () => {
    const na = { name: 'NVIDIA GB10', 'memory.total': '[N/A]', 'memory.used': '[N/A]', 'memory.free': '[N/A]' }
    const { gpus } = await probe(await machineSaying(await row(na), 0, { 'proc/meminfo': MEMINFO }))
    expect(gpus[0]!.memory).toEqual({
      kind: 'unified',
      total: 125_513_944 * 1024,
      used: 25_513_944 * 1024,
      free: 100_000_000 * 1024,
    })
  })

  test('N1X gives the size of a part only: main memory counts', async () => {
    const n1x = { name: 'NVIDIA N1X', 'memory.total': '8128 MiB', 'memory.free': '7929 MiB' }
    const { gpus } = await probe(await machineSaying(await row(n1x), 0, { 'proc/meminfo': MEMINFO }))
    expect(gpus[0]!.memory).toMatchObject({ kind: 'unified', total: 125_513_944 * 1024 })
  })

  test('memory that failed to be read is not taken for unified memory', async () => {
    const error = '[Unknown Error]'
    const cells = { 'memory.total': error, 'memory.used': error, 'memory.free': error }
    const { gpus } = await probe(await machineSaying(await row(cells), 0, { 'proc/meminfo': MEMINFO }))
    expect(gpus[0]!.memory).toEqual({ kind: 'dedicated', total: null, used: null, free: null })
  })
})

describe('what a GPU says of itself', () => {
  test.each([
    [{ 'remapped_rows.failure': 'Yes' }, 'critical', /replace/],
    [{ 'remapped_rows.pending': 'Yes' }, 'warning', /reset/],
    [{ gpu_recovery_action: 'Reboot' }, 'critical', /Reboot/],
    [{ 'ecc.errors.uncorrected.volatile.total': '2' }, 'warning', /2 uncorrected/],
    [{ 'clocks_event_reasons.hw_thermal_slowdown': 'Active' }, 'warning', /temperature/],
    [{ 'clocks_event_reasons.hw_power_brake_slowdown': 'Active' }, 'warning', /power/],
    [{ 'temperature.gpu': '[GPU is lost]' }, 'critical', /lost/],
  ])('%j is a fault', async (cells, severity, message) => {
    const { gpus } = await probe(await machineSaying(await row(cells)))
    expect(gpus[0]!.faults).toEqual([{ severity, message: expect.stringMatching(message) }])
  })

  test('one uncorrected error, said as 0, No and None, is no fault', async () => {
    const cells = {
      'ecc.errors.uncorrected.volatile.total': '0',
      'remapped_rows.failure': 'No',
      gpu_recovery_action: 'None',
    }
    expect((await probe(await machineSaying(await row(cells)))).gpus[0]!.faults).toEqual([])
  })
})

describe('failures', () => {
  test.each([
    [
      'Unable to determine the device handle for GPU 0000:02:00.0: GPU is lost.  Reboot the system to recover this GPU',
      15,
      'lost',
    ],
    ['Unable to determine the device handle for GPU 0000:02:00.0: Unknown Error', 255, 'lost'],
    ['Failed to initialize NVML: Unknown Error', 255, 'driver'],
    ['Failed to initialize NVML: Driver/library version mismatch', 18, 'driver'],
    ["NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure", 9, 'driver'],
    ['Failed to initialize NVML: Insufficient Permissions', 4, 'denied'],
    ['No devices were found', 6, 'no-device'],
    ['No devices were found', 0, 'no-device'],
    ['', 3, 'unreadable'],
    ['', 4, 'denied'],
    ['', 6, 'no-device'],
    ['', 9, 'driver'],
    ['', 12, 'driver'],
    ['', 13, 'unreadable'],
    ['', 15, 'lost'],
    ['', 255, 'driver'],
    ['Segmentation fault', 139, 'unreadable'],
    ['garbage', 0, 'unreadable'],
    ['', 0, 'unreadable'],
  ])('%j with exit %i is %s', async (text, code, outcome) => {
    const { gpus, reports } = await probe(await machineSaying(text, code))
    expect(gpus).toEqual([])
    expect(reports).toHaveLength(1)
    expect(reports[0]!.outcome).toBe(outcome)
    expect(reports[0]!.message).toMatch(text === '' || outcome === 'unreadable' ? /nvidia-smi/ : text.slice(0, 30))
    if (outcome !== 'no-device') expect(reports[0]!.remedy).not.toBe('')
  })

  test('one GPU of two is lost: the other is still shown', async () => {
    const text = 'Unable to determine the device handle for GPU 0000:02:00.0: GPU is lost.  Reboot the system'
    const { gpus, reports } = await probe(await machineSaying(`${await row({})}\n${text}`, 15))
    expect(gpus).toHaveLength(1)
    expect(reports).toMatchObject([{ outcome: 'lost', message: expect.stringContaining('0000:02:00.0') }])
  })

  test('a corrupt infoROM and a missing power cable are warnings beside the rows', async () => {
    for (const code of [8, 10, 14]) {
      const { gpus, reports } = await probe(await machineSaying(await row({}), code))
      expect(gpus).toHaveLength(1)
      expect(reports[0]!.outcome).toBe('degraded')
    }
  })

  test('a row with a column too many or too few is refused, not shifted', async () => {
    const good = await row({})
    for (const bad of [`${good}, 1`, good.slice(0, good.lastIndexOf(', '))]) {
      const { gpus, reports } = await probe(await machineSaying(bad))
      expect(gpus).toEqual([])
      expect(reports[0]!.outcome).toBe('unreadable')
    }
  })

  test('a header that is not the one asked for is refused', async () => {
    const answer = (await row({})).replace(
      'memory.used [MiB], memory.free [MiB]',
      'memory.free [MiB], memory.used [MiB]',
    )
    expect((await probe(await machineSaying(answer))).gpus).toEqual([])
  })

  test('control characters of a failure text reach nobody’s terminal', async () => {
    const { reports } = await probe(await machineSaying('\u001b[31mGPU is lost\u0007|x', 15))
    expect(reports[0]!.message).toMatch(/^[\x20-\x7e]+$/)
  })

  test('no nvidia-smi is nothing found', async () => {
    expect(await probe(await fakeMachine({}))).toEqual({ gpus: [], reports: [] })
  })

  test('a hang that ignores SIGTERM is a hung driver, by the deadline', async () => {
    const script = smi({ '*': "trap '' TERM; while :; do /bin/sleep 1; done" })
    const start = performance.now()
    const { gpus, reports } = await probe(await fakeMachine({ 'nvidia-smi': script }), 300)
    expect(performance.now() - start).toBeLessThan(2_500)
    expect(gpus).toEqual([])
    expect(reports).toMatchObject([{ outcome: 'hung', message: 'driver hung: nvidia-smi did not answer within 0.3 s' }])
  })

  test('rows come in time and the list of processes hangs: both are said', async () => {
    const script = smi({ '--query-gpu=*': 'h100.load.query-gpu.csv', '*': '/bin/sleep 5' })
    const { gpus, reports } = await probe(await fakeMachine({ 'nvidia-smi': script }), 600)
    expect(gpus[0]).toMatchObject({ utilizationPercent: 100, processes: null })
    expect(reports[0]!.outcome).toBe('hung')
  })

  test('100 MB of output are refused', async () => {
    const script = smi({ '--query-gpu=*': '/usr/bin/head -c 104857600 /dev/zero', '*': 'exit 0' })
    const { reports } = await probe(await fakeMachine({ 'nvidia-smi': script }))
    expect(reports).toMatchObject([{ outcome: 'unreadable', message: 'nvidia-smi printed more than 4194304 bytes' }])
  })
})

describe('an older driver', () => {
  const OLD = ['index', 'uuid', 'name', 'driver_version', 'memory.total', 'memory.used', 'memory.free']

  test('that refuses a field is asked which it knows, under their old names too', async () => {
    const known = [...OLD, 'utilization.gpu', 'clocks_throttle_reasons.hw_thermal_slowdown']
    const help = known.map((name) => `"${name}"`).join('\n')
    const answer = `${known.join(', ')}\n0, GPU-1, Old, 390.1, 8 MiB, 1 MiB, 7 MiB, 3 %, Active`
    const script = smi({
      '--help-query-gpu': `/bin/cat <<'EOF'\n${help}\nEOF`,
      [`--query-gpu=${known.join(',')}`]: `/bin/cat <<'EOF'\n${answer}\nEOF`,
      '--query-gpu=*': `echo 'Field "gpu_recovery_action" is not a valid field to query.'; exit 2`,
      '*': 'exit 0',
    })
    const { gpus, reports } = await probe(await fakeMachine({ 'nvidia-smi': script }))
    expect(reports[0]!.outcome).toBe('ok')
    expect(gpus[0]).toMatchObject({ name: 'Old', utilizationPercent: 3, temperatureC: null })
    expect(gpus[0]!.faults).toHaveLength(1)
  })

  test('whose help cannot be read either is asked for the few fields all know', async () => {
    const answer = `${OLD.join(', ')}\n0, GPU-1, Older, 304.1, 8 MiB, 1 MiB, 7 MiB`
    const script = smi({
      '--help-query-gpu': 'exit 1',
      [`--query-gpu=${OLD.join(',')}`]: `/bin/cat <<'EOF'\n${answer}\nEOF`,
      '*': 'echo refused; exit 2',
    })
    const { gpus } = await probe(await fakeMachine({ 'nvidia-smi': script }))
    expect(gpus[0]).toMatchObject({ name: 'Older', processes: null })
  })

  test('that refuses what its own help lists is asked for those few too', async () => {
    const answer = `${OLD.join(', ')}\n0, GPU-1, Older, 304.1, 8 MiB, 1 MiB, 7 MiB`
    const script = smi({
      '--help-query-gpu': 'rtx-4080-super.help-query-gpu.txt',
      [`--query-gpu=${OLD.join(',')}`]: `/bin/cat <<'EOF'\n${answer}\nEOF`,
      '*': 'echo refused; exit 2',
    })
    const { gpus } = await probe(await fakeMachine({ 'nvidia-smi': script }))
    expect(gpus).toMatchObject([{ name: 'Older', memory: { total: 8 * MIB } }])
  })

  test('every field we ask stands in the help of driver 595', async () => {
    expect(fieldsFor(await fixture('rtx-4080-super.help-query-gpu.txt'))).toEqual(fieldsFor())
  })
})

describe('parsing', () => {
  test('a process name may hold commas', () => {
    const csv = 'gpu_uuid, pid, process_name, used_gpu_memory [MiB]\r\nGPU-1, 12, python, main.py, --cpu, 5 MiB\r\n'
    expect(parseProcesses(csv)?.get('GPU-1')).toEqual([{ pid: 12, name: 'python, main.py, --cpu', memory: 5 * MIB }])
  })

  test('no text makes it throw, and a row is only taken whole', () => {
    const fields = ['index', 'name']
    fc.assert(
      fc.property(fc.array(fc.string()), (lines) => {
        const parsed = parseRows(['index, name', ...lines].join('\n'), fields)
        for (const found of parsed?.rows ?? []) expect([...found.keys()]).toEqual(fields)
      }),
    )
  })
})
