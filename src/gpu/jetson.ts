import { join } from 'node:path'
import { amount, measured } from './cell.ts'
import { NOTHING, type Probe, unknownGpu } from './gpu.ts'
import { mainMemory, namesIn, readAttributes, readText } from './host.ts'
import type { Machine } from './run-tool.ts'
import { hungReport, okReport } from './tool-report.ts'

const LOADS = ['sys/devices/platform/tegra-soc/gpu.0/load', 'sys/devices/platform/gpu.0/load', 'sys/devices/gpu.0/load']

/** NVIDIA's Jetson boards, whose nvidia-smi is absent or says nothing: load and temperature by /sys, memory unified. */
export async function probeJetson(machine: Machine, timeoutMs: number): Promise<Probe> {
  const model = (await readText(join(machine.root, 'proc/device-tree/model')))?.replaceAll('\0', '').trim()
  const loads = LOADS.map((path) => join(machine.root, path))
  if (!/jetson|tegra/i.test(model ?? '')) return NOTHING
  const zone = await gpuThermalZone(machine)
  const attributes = await readAttributes([...loads, ...(zone ? [zone] : [])], machine, timeoutMs)
  if (attributes === 'hung') return { gpus: [], reports: [hungReport('nvidia', 'tegra', timeoutMs)] }
  const perMille = amount(loads.map((path) => attributes.get(path)).find((value) => value !== undefined))
  const milliC = measured(zone === undefined ? undefined : attributes.get(zone))
  const { total, free } = await mainMemory(machine)
  const gpu = {
    ...unknownGpu('nvidia', 0, 'unified', 'sysfs'),
    name: model ?? null,
    memory: { kind: 'unified', total, used: total - free, free } as const,
    utilizationPercent: perMille === null ? null : perMille / 10,
    temperatureC: milliC === null ? null : milliC / 1000,
  }
  return { gpus: [gpu], reports: [okReport('nvidia', 'tegra')] }
}

async function gpuThermalZone(machine: Machine): Promise<string | undefined> {
  const thermal = join(machine.root, 'sys/class/thermal')
  for (const name of await namesIn(thermal)) {
    const type = name.startsWith('thermal_zone') ? await readText(join(thermal, name, 'type')) : undefined
    if (/^gpu/i.test(type ?? '')) return join(thermal, name, 'temp')
  }
  return undefined
}
