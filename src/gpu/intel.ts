import { type Gpu, NOTHING, type Probe, unknownGpu } from './gpu.ts'
import { amountAt, asObjects, at, firstJson, textAt } from './json.ts'
import { type Machine, runTool } from './run-tool.ts'
import { deniedReport, hungReport, okReport, unreadableReport } from './tool-report.ts'

const TOOL = 'xpu-smi'

/**
 * Intel's GPUs as `xpu-smi discovery` lists them: names and memory. The kernel publishes no use of VRAM for i915 or xe,
 * so without the tool there is nothing here, and ComfyUI's own figures stand in (health/collect.ts).
 */
export async function probeIntel(machine: Machine, timeoutMs: number): Promise<Probe> {
  const run = await runTool(TOOL, ['discovery', '-j'], machine, { timeoutMs })
  if (run.kind === 'absent') return NOTHING
  if (run.kind === 'hung') return { gpus: [], reports: [hungReport('intel', TOOL, timeoutMs)] }
  if (run.kind === 'unrunnable') return { gpus: [], reports: [deniedReport('intel', TOOL, run.reason)] }
  const document = run.kind === 'ran' ? firstJson(run.stdout) : undefined
  if (!Array.isArray(at(document, 'device_list'))) {
    if (/no device|no gpu/i.test(textAt(document, 'error') ?? '')) return NOTHING
    return { gpus: [], reports: [unreadableReport('intel', TOOL)] }
  }
  return { gpus: gpusFromXpuSmi(document), reports: [okReport('intel', TOOL)] }
}

/** Sizes are strings of bytes, or "N/A" (Arc A310). Used is not told, and total less free would count what is reserved. */
export function gpusFromXpuSmi(document: unknown): Gpu[] {
  return asObjects(at(document, 'device_list')).flatMap((device): Gpu[] => {
    const index = amountAt(device, 'device_id')
    if (index === null) return []
    return [
      {
        ...unknownGpu('intel', index, 'dedicated', TOOL),
        name: textAt(device, 'device_name'),
        uuid: textAt(device, 'uuid'),
        driver: textAt(device, 'driver_version'),
        memory: {
          kind: 'dedicated',
          total: amountAt(device, 'memory_physical_size_byte'),
          used: null,
          free: amountAt(device, 'memory_free_size_byte'),
        },
      },
    ]
  })
}
