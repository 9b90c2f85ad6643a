import { join } from 'node:path'
import { amount, measured } from './cell.ts'
import { type Gpu, NOTHING, type Probe, unknownGpu } from './gpu.ts'
import { mainMemory, namesIn, readAttributes, readText } from './host.ts'
import type { Machine } from './run-tool.ts'
import { hungReport, okReport } from './tool-report.ts'

const AMD_PCI_VENDOR = '0x1002'
const DEVICE_FILES = [
  'mem_info_vram_total',
  'mem_info_vram_used',
  'mem_info_gtt_total',
  'mem_info_gtt_used',
  'gpu_busy_percent',
  'mem_busy_percent',
  'unique_id',
  'product_name',
]
const SENSOR_FILES = ['temp1_input', 'power1_average', 'power1_input']

/** What the amdgpu driver itself says under /sys/class/drm: needs no tool and no right. */
export async function probeAmdSysfs(machine: Machine, timeoutMs: number): Promise<Probe> {
  const drm = join(machine.root, 'sys/class/drm')
  const devices: string[] = []
  for (const name of await namesIn(drm)) {
    const device = join(drm, name, 'device')
    if (/^card\d+$/.test(name) && (await readText(join(device, 'vendor')))?.trim() === AMD_PCI_VENDOR)
      devices.push(device)
  }
  if (devices.length === 0) return NOTHING
  const cards = await Promise.all(devices.map(async (device) => ({ device, sensors: await sensorDir(device) })))
  const paths = cards.flatMap(({ device, sensors }) => [
    ...DEVICE_FILES.map((file) => join(device, file)),
    ...(sensors === undefined ? [] : SENSOR_FILES.map((file) => join(sensors, file))),
  ])
  const attributes = await readAttributes(paths, machine, timeoutMs)
  if (attributes === 'hung') return { gpus: [], reports: [hungReport('amd', 'amdgpu', timeoutMs)] }
  const driver = (await readText(join(machine.root, 'sys/module/amdgpu/version')))?.trim() ?? null
  const { total } = await mainMemory(machine)
  const gpus = cards.map(({ device, sensors }, index) => {
    const value = (file: string): string | undefined => attributes.get(join(device, file))
    const sensor = (file: string): string | undefined =>
      sensors === undefined ? undefined : attributes.get(join(sensors, file))
    return capAt(gpuFromSysfs(index, driver, value, sensor), total)
  })
  return { gpus, reports: [okReport('amd', 'amdgpu')] }
}

async function sensorDir(device: string): Promise<string | undefined> {
  const [first] = await namesIn(join(device, 'hwmon'))
  return first === undefined ? undefined : join(device, 'hwmon', first)
}

function gpuFromSysfs(
  index: number,
  driver: string | null,
  value: (file: string) => string | undefined,
  sensor: (file: string) => string | undefined,
): Gpu {
  const memory = memoryOf({
    total: amount(value('mem_info_vram_total')),
    used: amount(value('mem_info_vram_used')),
    free: null,
    totalGtt: amount(value('mem_info_gtt_total')),
    usedGtt: amount(value('mem_info_gtt_used')),
    // amdgpu shows mem_busy_percent for cards and not for APUs
    apu: value('gpu_busy_percent') !== undefined && value('mem_busy_percent') === undefined,
  })
  const milliC = measured(sensor('temp1_input'))
  const microW = amount(sensor('power1_average')) ?? amount(sensor('power1_input'))
  const uniqueId = value('unique_id')
  return {
    ...unknownGpu('amd', index, memory.kind, 'sysfs'),
    name: value('product_name') || null,
    uuid: uniqueId ? `0x${uniqueId}` : null,
    driver,
    memory,
    utilizationPercent: amount(value('gpu_busy_percent')),
    temperatureC: milliC === null ? null : milliC / 1000,
    powerW: microW === null ? null : microW / 1_000_000,
  }
}

export interface AmdMemory {
  readonly total: number | null
  readonly used: number | null
  readonly free: number | null
  readonly totalGtt: number | null
  readonly usedGtt: number | null
  /** Known to be an APU; where it is not known, a tiny VRAM tells. */
  readonly apu: boolean
}

/**
 * An APU shows as VRAM what its BIOS carved out (half a GiB of 110) and takes the rest from main memory by the GTT:
 * where the GTT is the larger the two count together. AMD's driver counts VRAM whole, so free is total less used.
 */
export function memoryOf({ total, used, free, totalGtt, usedGtt, apu }: AmdMemory): Gpu['memory'] {
  if (total !== null && totalGtt !== null && totalGtt > total && (apu || total <= APU_CARVE_OUT)) {
    const sum = total + totalGtt
    const sumUsed = used === null || usedGtt === null ? null : used + usedGtt
    return { kind: 'shared', total: sum, used: sumUsed, free: sumUsed === null ? null : Math.max(0, sum - sumUsed) }
  }
  const left = total === null || used === null ? null : Math.max(0, total - used)
  return { kind: 'dedicated', total, used, free: free ?? left }
}

/** No card of today is this small, and a card's GTT, half of main memory, is often the larger one too. */
const APU_CARVE_OUT = 1_073_741_824

/** VRAM and GTT of an APU come to more than the machine has (132 of 128 GiB): main memory is the limit. */
export function capAt(gpu: Gpu, mainMemoryBytes: number): Gpu {
  const { kind, total, used } = gpu.memory
  if (kind !== 'shared' || total === null || total <= mainMemoryBytes) return gpu
  const free = used === null ? null : Math.max(0, mainMemoryBytes - used)
  return { ...gpu, memory: { ...gpu.memory, total: mainMemoryBytes, free } }
}
