import { capAt, memoryOf, probeAmdSysfs } from './amd-sysfs.ts'
import { type Gpu, NOTHING, type Probe, unknownGpu } from './gpu.ts'
import { mainMemory } from './host.ts'
import { amountAt, asObject, asObjects, at, firstJson, type JsonObject, measuredAt, textAt } from './json.ts'
import { type Machine, runTool, type ToolRun } from './run-tool.ts'
import { hungReport, okReport, unreadableReport } from './tool-report.ts'

/** AMD's GPUs by amd-smi, by the deprecated rocm-smi where that is all there is, else by what the kernel says. */
export async function probeAmd(machine: Machine, timeoutMs: number): Promise<Probe> {
  const over = new AbortController()
  const ask = (tool: string, ...args: string[]): Promise<ToolRun> =>
    runTool(tool, args, machine, { timeoutMs, signal: over.signal })
  try {
    const asked: Probe[] = []
    for (const next of [askAmdSmi, askRocmSmi, askKernel]) {
      const probe = await next(ask, machine, timeoutMs)
      if (probe.gpus.length > 0 || probe.reports.some(({ outcome }) => outcome === 'hung')) return probe
      asked.push(probe)
    }
    return asked.find(({ reports }) => reports.length > 0) ?? NOTHING
  } finally {
    over.abort()
  }
}

const GIB = 1_073_741_824

type Ask = (tool: string, ...args: string[]) => Promise<ToolRun>

/** A build that prints nothing, or an error because there is no AMD card, makes way for whoever knows more. */
async function askAmdSmi(ask: Ask, machine: Machine, timeoutMs: number): Promise<Probe> {
  const [metric, fixed, list] = await Promise.all([
    ask('amd-smi', 'metric', '--json'),
    ask('amd-smi', 'static', '--asic', '--driver', '--json'),
    ask('amd-smi', 'list', '--json'),
  ])
  if (metric.kind === 'hung') return { gpus: [], reports: [hungReport('amd', 'amd-smi', timeoutMs)] }
  const gpus = metric.kind === 'ran' ? gpusFromAmdSmi(metric.stdout, stdoutOf(fixed), stdoutOf(list)) : []
  if (gpus.length === 0) return complaint('amd-smi', metric)
  const { total } = await mainMemory(machine)
  return { gpus: gpus.map((gpu) => capAt(gpu, total)), reports: [okReport('amd', 'amd-smi')] }
}

/** The GPUs of `amd-smi metric`, with names and versions of `static` and uuids of `list` where those could be read. */
export function gpusFromAmdSmi(metric: string, fixed = '', list = ''): Gpu[] {
  const facts = entries(firstJson(fixed))
  const ids = entries(firstJson(list))
  return entries(firstJson(metric)).flatMap((entry): Gpu[] => {
    const index = amountAt(entry, 'gpu')
    if (index === null) return []
    const same = (other: JsonObject): boolean => amountAt(other, 'gpu') === index
    const fact = facts.find(same)
    const total = amountAt(entry, 'mem_usage', 'total_vram')
    const noMemoryLoad = amountAt(entry, 'usage', 'umc_activity') === null
    const memory = memoryOf({
      total,
      used: amountAt(entry, 'mem_usage', 'used_vram'),
      free: amountAt(entry, 'mem_usage', 'free_vram'),
      totalGtt: amountAt(entry, 'mem_usage', 'total_gtt'),
      usedGtt: amountAt(entry, 'mem_usage', 'used_gtt'),
      apu: noMemoryLoad && total !== null && total <= 4 * GIB,
    })
    return [
      {
        ...unknownGpu('amd', index, memory.kind, 'amd-smi'),
        name: textAt(fact, 'asic', 'market_name'),
        uuid: textAt(ids.find(same), 'uuid'),
        driver: textAt(fact, 'driver', 'version'),
        memory,
        utilizationPercent: amountAt(entry, 'usage', 'gfx_activity'),
        temperatureC: measuredAt(entry, 'temperature', 'edge') ?? measuredAt(entry, 'temperature', 'hotspot'),
        memoryTemperatureC: measuredAt(entry, 'temperature', 'mem'),
        powerW: amountAt(entry, 'power', 'socket_power') ?? amountAt(entry, 'power', 'average_socket_power'),
      },
    ]
  })
}

/** A bare list up to ROCm 6, `{"gpu_data":[...]}` since 7. */
function entries(document: unknown): JsonObject[] {
  return asObjects(Array.isArray(document) ? document : at(document, 'gpu_data'))
}

async function askRocmSmi(ask: Ask, _machine: Machine, timeoutMs: number): Promise<Probe> {
  const shown = ['use', 'meminfo vram', 'temp', 'power', 'productname', 'uniqueid', 'driverversion']
  const run = await ask('rocm-smi', ...shown.flatMap((what) => `--show${what}`.split(' ')), '--json')
  if (run.kind === 'hung') return { gpus: [], reports: [hungReport('amd', 'rocm-smi', timeoutMs)] }
  const gpus = run.kind === 'ran' ? gpusFromRocmSmi(run.stdout) : []
  return gpus.length > 0 ? { gpus, reports: [okReport('amd', 'rocm-smi')] } : complaint('rocm-smi', run)
}

function askKernel(_ask: Ask, machine: Machine, timeoutMs: number): Promise<Probe> {
  return probeAmdSysfs(machine, timeoutMs)
}

/** Only a tool that says it did well and printed what nobody can read is worth a word. */
function complaint(tool: string, run: ToolRun): Probe {
  const garbled = run.kind === 'ran' && run.code === 0 && /\S/.test(run.stdout) && firstJson(run.stdout) === undefined
  const empty = run.kind === 'ran' && /No JSON data to report/i.test(run.stdout + run.stderr)
  return garbled && !empty ? { gpus: [], reports: [unreadableReport('amd', tool)] } : NOTHING
}

/** `rocm-smi --json`: `card0`, `card1`, ... and `system`; every value a string, and keys that differ by release. */
export function gpusFromRocmSmi(text: string): Gpu[] {
  const document = asObject(firstJson(text)) ?? {}
  const driver = textAt(document, 'system', 'Driver version')
  return Object.entries(document).flatMap(([name, card]): Gpu[] => {
    const index = /^card(\d+)$/.exec(name)?.[1]
    if (index === undefined) return []
    const first = <T>(...found: readonly (T | null)[]): T | null => found.find((value) => value !== null) ?? null
    const total = first(amountAt(card, 'VRAM Total Memory (B)'), amountAt(card, 'Total memory (B)'))
    const used = first(
      amountAt(card, 'VRAM Total Used Memory (B)'),
      amountAt(card, 'Used memory (B)'),
      amountAt(card, 'VRAM Used Memory (B)'),
    )
    return [
      {
        ...unknownGpu('amd', Number(index), 'dedicated', 'rocm-smi'),
        name: first(textAt(card, 'Card series'), textAt(card, 'Card Series'), textAt(card, 'Device Name')),
        uuid: textAt(card, 'Unique ID'),
        driver,
        memory: memoryOf({ total, used, free: null, totalGtt: null, usedGtt: null, apu: false }),
        utilizationPercent: first(amountAt(card, 'GPU use (%)'), amountAt(card, 'GPU use %')),
        temperatureC: first(
          measuredAt(card, 'Temperature (Sensor edge) (C)'),
          measuredAt(card, 'Temperature (Sensor junction) (C)'),
        ),
        memoryTemperatureC: measuredAt(card, 'Temperature (Sensor memory) (C)'),
        powerW: first(
          amountAt(card, 'Average Graphics Package Power (W)'),
          amountAt(card, 'Current Socket Graphics Package Power (W)'),
        ),
      },
    ]
  })
}

function stdoutOf(run: ToolRun): string {
  return run.kind === 'ran' ? run.stdout : ''
}
