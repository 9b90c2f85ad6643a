import { amount, textIn } from './cell.ts'
import { type Gpu, type Probe, unknownGpu } from './gpu.ts'
import { asObjects, at, firstJson, textAt } from './json.ts'
import { type Machine, runTool, type ToolRun } from './run-tool.ts'
import { hungReport, okReport, unreadableReport } from './tool-report.ts'

const TOOL = 'system_profiler'

/** A Mac's GPUs: names by system_profiler, main memory by sysctl, use by ioreg. None of it tells what is free. */
export async function probeApple(machine: Machine, timeoutMs: number): Promise<Probe> {
  const ask = (tool: string, ...args: string[]): Promise<ToolRun> => runTool(tool, args, machine, { timeoutMs })
  const [displays, memory, registry] = await Promise.all([
    ask(TOOL, 'SPDisplaysDataType', '-json'),
    ask('sysctl', '-n', 'hw.memsize'),
    ask('ioreg', '-r', '-c', 'IOAccelerator', '-d', '1', '-w', '0'),
  ])
  if (displays.kind === 'hung') return { gpus: [], reports: [hungReport('apple', TOOL, timeoutMs)] }
  const stdout = (run: ToolRun): string => (run.kind === 'ran' ? run.stdout : '')
  const gpus = gpusFromMac(stdout(displays), stdout(memory), stdout(registry))
  return { gpus, reports: [gpus.length > 0 ? okReport('apple', TOOL) : unreadableReport('apple', TOOL)] }
}

/** Apple Silicon has no VRAM key and takes main memory; the cards of Intel Macs say `spdisplays_vram: "4 GB"`. */
export function gpusFromMac(displays: string, memsize: string, registry: string): Gpu[] {
  return asObjects(at(firstJson(displays), 'SPDisplaysDataType')).map((display, index): Gpu => {
    const name = textAt(display, 'sppci_model') ?? textAt(display, '_name')
    const vendorText = textAt(display, 'spdisplays_vendor') ?? ''
    if (/apple/i.test(vendorText) || /^Apple /.test(name ?? '')) {
      return {
        ...unknownGpu('apple', index, 'unified', TOOL),
        name,
        memory: {
          kind: 'unified',
          total: amount(memsize),
          used: statistic(registry, 'In use system memory'),
          free: null,
        },
        utilizationPercent: statistic(registry, 'Device Utilization %'),
      }
    }
    const own = textAt(display, 'spdisplays_vram') ?? textAt(display, '_spdisplays_vram')
    const lent = textAt(display, 'spdisplays_vram_shared')
    const vendor = /amd|ati/i.test(vendorText) ? 'amd' : /nvidia/i.test(vendorText) ? 'nvidia' : 'intel'
    const kind = own === null && lent !== null ? 'shared' : 'dedicated'
    return {
      ...unknownGpu(vendor, index, kind, TOOL),
      name,
      memory: { kind, total: binary(own ?? lent), used: null, free: null },
    }
  })
}

/** One number of ioreg's PerformanceStatistics. */
function statistic(registry: string, name: string): number | null {
  const match = new RegExp(`"${name}"\\s*=\\s*(\\d+)`).exec(registry)
  return amount(match?.[1])
}

/** Apple writes GB and MB and means powers of two. */
function binary(text: string | null): number | null {
  return amount(textIn(text?.replace(/\b([GM])B\b/, '$1iB')))
}
