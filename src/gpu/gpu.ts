export type Vendor = 'nvidia' | 'amd' | 'intel' | 'apple'

/**
 * Whose memory it is: the card's own, the machine's main memory that CPU and GPU use as one (GB10, Jetson, Apple),
 * main memory lent to an integrated GPU (APU), or one MIG slice of a card.
 */
export type MemoryKind = 'dedicated' | 'unified' | 'shared' | 'mig'

/** Bytes, as the guide's `vram`. used + free need not be total: drivers reserve a part that is in neither. */
export interface GpuMemory {
  readonly kind: MemoryKind
  readonly total: number | null
  readonly used: number | null
  readonly free: number | null
}

export interface GpuProcess {
  readonly pid: number
  readonly name: string | null
  /** Bytes; null where the driver does not say, as on Windows and in WSL2. */
  readonly memory: number | null
}

/** What a GPU says is wrong with itself, worded for its owner. */
export interface GpuFault {
  readonly severity: 'warning' | 'critical'
  readonly message: string
}

/** One GPU, or one MIG slice of one. Every number was measured, or is null: 0 is never a stand-in. */
export interface Gpu {
  /** The tool's own number, which need not be CUDA's or HIP's. */
  readonly index: number
  /** Number of the MIG slice on GPU `index`; null for a whole GPU. */
  readonly slice: number | null
  readonly name: string | null
  readonly vendor: Vendor
  readonly uuid: string | null
  readonly driver: string | null
  readonly memory: GpuMemory
  readonly utilizationPercent: number | null
  readonly temperatureC: number | null
  readonly memoryTemperatureC: number | null
  readonly fanPercent: number | null
  readonly powerW: number | null
  /** Uncorrected memory errors since the driver was loaded. */
  readonly eccErrors: number | null
  /** null where nobody could say, [] where nothing runs. */
  readonly processes: readonly GpuProcess[] | null
  readonly faults: readonly GpuFault[]
  /** Which tool or folder the numbers come from. */
  readonly source: string
}

/**
 * How a tool fared. `ok` with `degraded` notes aside, `hung` is a tool that did not end in time, `lost` a GPU that fell
 * off the bus, `driver` a driver that is missing, broken or does not fit, `denied` a right we lack, `unreadable` an
 * answer that could not be understood.
 */
export type Outcome = 'ok' | 'degraded' | 'absent' | 'no-device' | 'hung' | 'lost' | 'driver' | 'denied' | 'unreadable'

export interface ToolReport {
  readonly vendor: Vendor
  readonly tool: string
  readonly outcome: Outcome
  /** One line; empty for `ok`. */
  readonly message: string
  /** What the owner can do; empty where nothing needs doing. */
  readonly remedy: string
}

/** What one vendor's probe found. */
export interface Probe {
  readonly gpus: readonly Gpu[]
  readonly reports: readonly ToolReport[]
}

export const NOTHING: Probe = { gpus: [], reports: [] }

/** A GPU of which nothing is known yet. */
export function unknownGpu(vendor: Vendor, index: number, kind: MemoryKind, source: string): Gpu {
  return {
    index,
    slice: null,
    name: null,
    vendor,
    uuid: null,
    driver: null,
    memory: { kind, total: null, used: null, free: null },
    utilizationPercent: null,
    temperatureC: null,
    memoryTemperatureC: null,
    fanPercent: null,
    powerW: null,
    eccErrors: null,
    processes: null,
    faults: [],
    source,
  }
}
