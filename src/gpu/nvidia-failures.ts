import type { Outcome, ToolReport } from './gpu.ts'

interface Failure {
  readonly outcome: Outcome
  readonly message: string
  readonly remedy: string
}

/** What nvidia-smi says when it fails. The text is asked before the exit code, which differs between drivers. */
const BY_TEXT: readonly (readonly [RegExp, Outcome, string])[] = [
  [
    /GPU is lost|fallen off the bus/i,
    'lost',
    'reboot the machine; if it comes back, look at power and seating of the card',
  ],
  [/Driver\/library version mismatch/i, 'driver', 'the driver was updated while it was loaded: reboot the machine'],
  [/Failed to initialize NVML: Unknown Error/i, 'driver', 'a container lost its devices: restart the container'],
  [/Failed to initialize NVML: Insufficient Permissions/i, 'denied', 'let this user open /dev/nvidia* (group video)'],
  [
    /couldn't communicate with the NVIDIA driver/i,
    'driver',
    'load or install the driver: see `dmesg | grep -i nvidia`',
  ],
  [/Failed to initialize NVML/i, 'driver', 'install the driver again; in a container start it with --gpus all'],
  [
    /Unable to determine the device handle/i,
    'lost',
    'reboot the machine; if it comes back, look at power and seating of the card',
  ],
  [/No devices were found/i, 'no-device', ''],
  [/insufficient permissions/i, 'denied', 'let this user open /dev/nvidia* (group video)'],
]

const BY_CODE: Readonly<Record<number, Failure>> = {
  2: { outcome: 'unreadable', message: 'refused the question', remedy: 'update the driver' },
  3: { outcome: 'unreadable', message: 'says that this is not available', remedy: 'update the driver' },
  4: { outcome: 'denied', message: 'was denied', remedy: 'let this user open /dev/nvidia* (group video)' },
  6: { outcome: 'no-device', message: 'found no GPU', remedy: '' },
  8: { outcome: 'degraded', message: 'a power cable is not attached', remedy: 'attach the power cables of the card' },
  9: { outcome: 'driver', message: 'the driver is not loaded', remedy: 'load or install the driver' },
  10: { outcome: 'degraded', message: 'the kernel has an interrupt problem with a GPU', remedy: 'see `dmesg`' },
  12: { outcome: 'driver', message: 'the NVML library is missing', remedy: 'install the driver again' },
  13: { outcome: 'unreadable', message: 'the NVML library is too old for it', remedy: 'install the driver again' },
  14: { outcome: 'degraded', message: 'the infoROM is corrupt', remedy: 'the card works; ask its maker for a repair' },
  15: { outcome: 'lost', message: 'a GPU fell off the bus', remedy: 'reboot the machine' },
  255: { outcome: 'driver', message: 'failed inside the driver', remedy: 'see `dmesg`; reboot the machine' },
}

/**
 * What ails nvidia-smi, from its exit code and the lines that were no rows; undefined where nothing does. A code we do
 * not know beside good rows is nothing; without rows it is an answer nobody could read.
 */
export function nvidiaFailure(
  code: number | null,
  strays: readonly string[],
  rows: number,
): Omit<ToolReport, 'vendor' | 'tool'> | undefined {
  const text = strays.join('\n')
  const known = BY_TEXT.find(([pattern]) => pattern.test(text))
  if (known) return { outcome: known[1], message: firstLine(strays, known[0]), remedy: known[2] }
  if (code === 0 && rows > 0 && strays.length === 0) return undefined
  const coded = code === null ? undefined : BY_CODE[code]
  if (coded) return { ...coded, message: `nvidia-smi: ${coded.message} (exit ${code})` }
  if (rows > 0 && strays.length === 0) return undefined
  const how = code === 0 ? 'answered what this program cannot read' : `ended with ${code ?? 'a signal'}`
  return { outcome: 'unreadable', message: `nvidia-smi ${how}`, remedy: 'run nvidia-smi by hand and see what it says' }
}

/** The line that told us, fit for one line of a terminal or a monitoring system. */
function firstLine(strays: readonly string[], pattern: RegExp): string {
  const line = strays.find((stray) => pattern.test(stray)) ?? ''
  return printable(line).slice(0, 200)
}

/** Tool output made safe to print: control characters out, runs of blanks made one. */
function printable(line: string): string {
  return line
    .replaceAll(/[^\x20-\x7e]+/g, ' ')
    .replaceAll(/ {2,}/g, ' ')
    .trim()
}
