import { amount, isNotOffered, measured, textIn } from './cell.ts'
import { type Gpu, type GpuFault, type GpuProcess, unknownGpu } from './gpu.ts'

/** Without these no row is worth having; every driver since 2013 knows them. */
export const CORE_FIELDS = ['index', 'uuid', 'name', 'driver_version', 'memory.total', 'memory.used', 'memory.free']

/** What we ask beside them. Where drivers renamed a field the newest name stands first. */
const MORE_FIELDS: readonly (readonly string[])[] = [
  ['utilization.gpu'],
  ['temperature.gpu'],
  ['temperature.memory'],
  ['fan.speed'],
  ['power.draw'],
  ['mig.mode.current'],
  ['ecc.errors.uncorrected.volatile.total'],
  ['remapped_rows.pending'],
  ['remapped_rows.failure'],
  ['gpu_recovery_action'],
  ['clocks_event_reasons.hw_thermal_slowdown', 'clocks_throttle_reasons.hw_thermal_slowdown'],
  ['clocks_event_reasons.hw_power_brake_slowdown', 'clocks_throttle_reasons.hw_power_brake_slowdown'],
]

export const PROCESS_FIELDS = ['gpu_uuid', 'pid', 'process_name', 'used_gpu_memory']

/** Every field under its newest name, or, given what `--help-query-gpu` printed, those this driver knows. */
export function fieldsFor(help?: string): string[] {
  if (help === undefined) return [...CORE_FIELDS, ...MORE_FIELDS.map((names) => names[0]!)]
  const known = new Set([...help.matchAll(/"([a-z_.0-9A-Z]+)"/g)].map((match) => match[1]!))
  const more = MORE_FIELDS.flatMap((names) => names.find((name) => known.has(name)) ?? [])
  return [...CORE_FIELDS, ...more]
}

type Row = ReadonlyMap<string, string>

/**
 * The rows of a `--format=csv` answer by field name, and the lines that are no rows (failure texts come on stdout,
 * before, between and after the rows). undefined if the header is not the one asked for. The format has no quoting, so
 * a row with another number of columns is refused: one shifted column would be a wrong number.
 */
export function parseRows(
  csv: string,
  fields: readonly string[],
): { readonly rows: readonly Row[]; readonly strays: readonly string[] } | undefined {
  const lines = csv.split(/\r?\n/).filter((line) => line.trim() !== '')
  const at = lines.findIndex((line) => isHeader(line, fields))
  if (at < 0) return undefined
  const rows: Row[] = []
  const strays = lines.slice(0, at)
  for (const line of lines.slice(at + 1)) {
    const cells = line.split(', ')
    if (cells.length !== fields.length || !/^\d+$/.test(cells[0]!.trim())) strays.push(line)
    else rows.push(new Map(fields.map((field, i) => [field, cells[i]!])))
  }
  return { rows, strays }
}

function isHeader(line: string, fields: readonly string[]): boolean {
  const names = line.split(', ').map((cell) => cell.trim().replace(/ \[[^\]]*\]$/, ''))
  return names.length === fields.length && names.every((name, i) => name === fields[i])
}

/** One row as a Gpu; `migOn` and `unified` (the driver offers no memory figures of its own) decide what else to ask. */
export function gpuFromRow(row: Row): { readonly gpu: Gpu; readonly migOn: boolean; readonly unified: boolean } {
  const index = Number(row.get('index'))
  const name = textIn(row.get('name')) ?? null
  const memoryCells = ['memory.total', 'memory.used', 'memory.free'].map((field) => row.get(field) ?? '')
  const unified = memoryCells.every(isNotOffered) || /\bN1X\b/.test(name ?? '') // N1X gives a total, of a part only
  const gpu: Gpu = {
    ...unknownGpu('nvidia', index, unified ? 'unified' : 'dedicated', 'nvidia-smi'),
    name,
    uuid: textIn(row.get('uuid')) ?? null,
    driver: textIn(row.get('driver_version')) ?? null,
    memory: {
      kind: unified ? 'unified' : 'dedicated',
      total: amount(memoryCells[0]),
      used: amount(memoryCells[1]),
      free: amount(memoryCells[2]),
    },
    utilizationPercent: amount(row.get('utilization.gpu')),
    temperatureC: measured(row.get('temperature.gpu')),
    memoryTemperatureC: measured(row.get('temperature.memory')),
    fanPercent: amount(row.get('fan.speed')),
    powerW: amount(row.get('power.draw')),
    eccErrors: amount(row.get('ecc.errors.uncorrected.volatile.total')),
    faults: faultsIn(row),
  }
  return { gpu, migOn: row.get('mig.mode.current')?.trim() === 'Enabled', unified }
}

function faultsIn(row: Row): GpuFault[] {
  const faults: GpuFault[] = []
  const cell = (...fields: string[]): string => textIn(fields.map((field) => row.get(field)).find(Boolean)) ?? ''
  const note = (severity: GpuFault['severity'], message: string): number => faults.push({ severity, message })
  if ([...row.values()].some((value) => /GPU is lost/i.test(value))) note('critical', 'GPU is lost: reboot the machine')
  const action = cell('gpu_recovery_action')
  if (action !== '') note('critical', `the driver asks for: ${action}`)
  if (/^(?:yes|1)$/i.test(cell('remapped_rows.failure'))) note('critical', 'row remapping failed: replace the GPU')
  if (/^(?:yes|1)$/i.test(cell('remapped_rows.pending'))) note('warning', 'rows wait to be remapped: reset the GPU')
  const ecc = amount(row.get('ecc.errors.uncorrected.volatile.total'))
  if (ecc !== null && ecc > 0) note('warning', `${ecc} uncorrected memory errors since the driver was loaded`)
  const active = (reason: string): boolean =>
    cell(`clocks_event_reasons.${reason}`, `clocks_throttle_reasons.${reason}`) === 'Active'
  if (active('hw_thermal_slowdown')) note('warning', 'slowed down by its temperature: look at fans and air flow')
  if (active('hw_power_brake_slowdown')) note('warning', 'slowed down by its power supply')
  return faults
}

/** Processes by GPU uuid. A process name may hold commas, so a line is read from both ends. */
export function parseProcesses(csv: string): ReadonlyMap<string, readonly GpuProcess[]> | undefined {
  const lines = csv.split(/\r?\n/).filter((line) => line.trim() !== '')
  const at = lines.findIndex((line) => isHeader(line, PROCESS_FIELDS))
  if (at < 0) return undefined
  const found = new Map<string, GpuProcess[]>()
  for (const line of lines.slice(at + 1)) {
    const cells = line.split(', ')
    const [uuid, pid] = cells
    if (cells.length < PROCESS_FIELDS.length || !/^\d+$/.test(pid!.trim())) continue
    const name = textIn(cells.slice(2, -1).join(', ')) ?? null
    const process: GpuProcess = { pid: Number(pid), name, memory: amount(cells.at(-1)) }
    found.set(uuid!.trim(), [...(found.get(uuid!.trim()) ?? []), process])
  }
  return found
}

/**
 * The MIG slices of each GPU by its uuid, from `-L` (names and uuids) and `-q` (memory): neither has both. Without a
 * memory section the slices stand there with null.
 */
export function parseSlices(list: string, query: string): ReadonlyMap<string, readonly Gpu[]> {
  const memory = sliceMemory(query)
  const found = new Map<string, Gpu[]>()
  let parent: { readonly index: number; readonly uuid: string } | undefined
  for (const line of list.split(/\r?\n/)) {
    const gpu = /^GPU (\d+): .*\(UUID: ([^)]+)\)/.exec(line)
    if (gpu) parent = { index: Number(gpu[1]), uuid: gpu[2]! }
    const slice = /^\s+(MIG \S+)\s+Device\s+(\d+): \(UUID: ([^)]+)\)/.exec(line)
    if (!slice || !parent) continue
    const number = Number(slice[2])
    const cells = memory.get(`${parent.uuid}/${number}`)
    const entry: Gpu = {
      ...unknownGpu('nvidia', parent.index, 'mig', 'nvidia-smi'),
      slice: number,
      name: slice[1]!,
      uuid: slice[3]!,
      memory: {
        kind: 'mig',
        total: amount(cells?.get('Total')),
        used: amount(cells?.get('Used')),
        free: amount(cells?.get('Free')),
      },
    }
    found.set(parent.uuid, [...(found.get(parent.uuid) ?? []), entry])
  }
  return found
}

/** `uuid/slice` to the cells of its "FB Memory Usage"; a GPU's uuid stands behind its slices in `-q`. */
function sliceMemory(query: string): Map<string, Map<string, string>> {
  const found = new Map<string, Map<string, string>>()
  for (const block of query.split(/^GPU /m).slice(1)) {
    const uuid = /^\s+GPU UUID\s*: (\S+)/m.exec(block)?.[1]
    for (const device of block.split(/^ {4}MIG Device\s*$/m).slice(1)) {
      const index = /^\s+Index\s*: (\d+)/m.exec(device)?.[1]
      const section = /^ {8}(?:Shared )?FB Memory Usage\s*\n((?: {12}.*\n?)+)/m.exec(device)?.[1]
      if (uuid === undefined || index === undefined || section === undefined) continue
      const cells = [...section.matchAll(/^\s+(\w+)\s*: (.*)$/gm)].map((match): [string, string] => [
        match[1]!,
        match[2]!,
      ])
      found.set(`${uuid}/${index}`, new Map(cells))
    }
  }
  return found
}
