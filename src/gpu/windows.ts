import { textIn } from './cell.ts'
import { type Gpu, NOTHING, type Probe, unknownGpu, type Vendor } from './gpu.ts'
import { type Machine, runTool } from './run-tool.ts'
import { hungReport, okReport } from './tool-report.ts'

const DISPLAY_CLASS = 'HKLM\\SYSTEM\\CurrentControlSet\\Control\\Class\\{4d36e968-e325-11ce-bfc1-08002be10318}'
const VENDORS: Readonly<Record<string, Vendor>> = { '1002': 'amd', '8086': 'intel' }

/** AMD's and Intel's cards on Windows, from the registry: name, driver and total memory, which is all it knows. */
export async function probeWindows(machine: Machine, timeoutMs: number): Promise<Probe> {
  const run = await runTool('reg', ['query', DISPLAY_CLASS, '/s'], machine, { timeoutMs })
  if (run.kind === 'hung') return { gpus: [], reports: [hungReport('amd', 'reg', timeoutMs)] }
  const gpus = run.kind === 'ran' ? gpusFromRegistry(run.stdout) : []
  return gpus.length === 0 ? NOTHING : { gpus, reports: [okReport(gpus[0]!.vendor, 'registry')] }
}

/** One key a driver, `...\0000`; its subkeys (`...\0000\Settings`) and NVIDIA's entries are passed over. */
export function gpusFromRegistry(text: string): Gpu[] {
  return text.split(/^(?=HKEY_)/m).flatMap((section): Gpu[] => {
    const index = /^HKEY_[^\r\n]*\\(\d{4})\r?\n/.exec(section)?.[1]
    const value = (name: string): string | undefined =>
      textIn(new RegExp(`^\\s+${name.replace('.', '\\.')}\\s+REG_\\w+\\s+(.*?)\\s*$`, 'm').exec(section)?.[1])
    const vendor = VENDORS[/VEN_([0-9A-F]{4})/i.exec(value('MatchingDeviceId') ?? '')?.[1] ?? '']
    if (index === undefined || vendor === undefined) return []
    const total = qword(value('HardwareInformation.qwMemorySize'))
    return [
      {
        ...unknownGpu(vendor, Number(index), 'dedicated', 'registry'),
        name: value('DriverDesc') ?? null,
        driver: value('DriverVersion') ?? null,
        memory: { kind: 'dedicated', total, used: null, free: null },
      },
    ]
  })
}

/** REG_QWORD prints as 0x200000000; some drivers store the same eight bytes as REG_BINARY, lowest first. */
function qword(text: string | undefined): number | null {
  const hex = /^0x([0-9a-f]{1,16})$/i.exec(text ?? '')?.[1] ?? /^([0-9a-f]{16})$/i.exec(text ?? '')?.[1]
  if (hex === undefined) return null
  const highFirst = text!.startsWith('0x') ? hex : hex.match(/../g)!.reverse().join('')
  const value = Number.parseInt(highFirst, 16)
  return value > 0 && Number.isSafeInteger(value) ? value : null
}
