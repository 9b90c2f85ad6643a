import { type Gpu, NOTHING, type Probe, type ToolReport } from './gpu.ts'
import { mainMemory } from './host.ts'
import {
  CORE_FIELDS,
  fieldsFor,
  gpuFromRow,
  PROCESS_FIELDS,
  parseProcesses,
  parseRows,
  parseSlices,
} from './nvidia-csv.ts'
import { nvidiaFailure } from './nvidia-failures.ts'
import { type Machine, runTool, type ToolRun } from './run-tool.ts'
import { deniedReport, hungReport, okReport, unreadableReport } from './tool-report.ts'

const TOOL = 'nvidia-smi'

type Ask = (...args: string[]) => Promise<ToolRun>

/** All GPUs nvidia-smi knows, MIG slices behind their GPU. Answers by the deadline, and leaves no question running. */
export async function probeNvidia(machine: Machine, timeoutMs: number): Promise<Probe> {
  const over = new AbortController()
  const end = performance.now() + timeoutMs
  const ask: Ask = (...args) => {
    const left = Math.max(1, Math.round(end - performance.now()))
    return runTool(TOOL, args, machine, { timeoutMs: left, signal: over.signal })
  }
  try {
    return await probeWith(ask, machine, timeoutMs)
  } finally {
    over.abort()
  }
}

async function probeWith(ask: Ask, machine: Machine, timeoutMs: number): Promise<Probe> {
  const processesAsked = ask(`--query-compute-apps=${PROCESS_FIELDS.join(',')}`, '--format=csv')
  const answer = await queryGpus(ask)
  if (answer.run.kind === 'absent') return NOTHING
  if (answer.run.kind !== 'ran') return { gpus: [], reports: [notRun(answer.run, timeoutMs)] }

  const { code, stdout, stderr } = answer.run
  const parsed = parseRows(stdout, answer.fields)
  const strays = [...(parsed?.strays ?? lines(stdout)), ...lines(stderr)]
  const rows = (parsed?.rows ?? []).map(gpuFromRow)
  const failure = nvidiaFailure(code, strays, rows.length)
  if (rows.length === 0) return { gpus: [], reports: failure ? [{ vendor: 'nvidia', tool: TOOL, ...failure }] : [] }

  const [processesRun, slices, memory] = await Promise.all([
    processesAsked,
    rows.some(({ migOn }) => migOn) ? askSlices(ask) : undefined,
    rows.some(({ unified }) => unified) ? mainMemory(machine) : undefined,
  ])
  const processes = processesRun.kind === 'ran' ? parseProcesses(processesRun.stdout) : undefined
  const gpus = rows.flatMap(({ gpu, unified }): Gpu[] => [
    {
      ...gpu,
      memory: unified && memory ? unifiedMemory(memory) : gpu.memory,
      processes: processes ? (processes.get(gpu.uuid ?? '') ?? []) : null,
    },
    ...(slices?.get(gpu.uuid ?? '') ?? []).map((slice) => ({ ...slice, driver: gpu.driver })),
  ])
  if (failure) return { gpus, reports: [{ vendor: 'nvidia', tool: TOOL, ...failure }] }
  return { gpus, reports: [processesRun.kind === 'hung' ? notRun(processesRun, timeoutMs) : okReport('nvidia', TOOL)] }
}

function unifiedMemory({ total, free }: { readonly total: number; readonly free: number }): Gpu['memory'] {
  return { kind: 'unified', total, used: total - free, free }
}

/**
 * One field an older driver does not know fails the whole query: it is then asked which ones it knows, and asked again
 * with those; failing that, with the few that every driver knows.
 */
async function queryGpus(ask: Ask): Promise<{ readonly run: ToolRun; readonly fields: readonly string[] }> {
  const query = async (fields: readonly string[]): Promise<{ run: ToolRun; fields: readonly string[] }> => {
    return { run: await ask(`--query-gpu=${fields.join(',')}`, '--format=csv'), fields }
  }
  const first = await query(fieldsFor())
  if (!isRefusedField(first.run)) return first
  const help = await ask('--help-query-gpu')
  const second = await query(fieldsFor(help.kind === 'ran' ? help.stdout : ''))
  return isRefusedField(second.run) ? query(CORE_FIELDS) : second
}

function isRefusedField(run: ToolRun): boolean {
  return run.kind === 'ran' && (run.code === 2 || /is not a valid field to query/i.test(run.stdout + run.stderr))
}

async function askSlices(ask: Ask): Promise<ReadonlyMap<string, readonly Gpu[]> | undefined> {
  const [list, query] = await Promise.all([ask('-L'), ask('-q')])
  return list.kind === 'ran' ? parseSlices(list.stdout, query.kind === 'ran' ? query.stdout : '') : undefined
}

function notRun(run: Exclude<ToolRun, { kind: 'ran' | 'absent' }>, timeoutMs: number): ToolReport {
  if (run.kind === 'hung') return hungReport('nvidia', TOOL, timeoutMs)
  if (run.kind === 'unrunnable') return deniedReport('nvidia', TOOL, run.reason)
  return unreadableReport('nvidia', TOOL, `printed more than ${run.limitBytes} bytes`)
}

function lines(text: string): string[] {
  return text.split(/\r?\n/).filter((line) => line.trim() !== '')
}
