import { plain } from './plain.ts'

/** What /system_stats says of the server, as far as we use it. */
export interface SystemStats {
  /** ComfyUI's version; undefined on servers that do not tell it. */
  readonly version: string | undefined
  /** The first one listed: newer servers list every torch device, primary first. */
  readonly device: Readonly<Record<string, unknown>>
}

function fields(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}

/** The one rule for what is a ComfyUI: its /system_stats names a device and the device's type. Undefined: it is none. */
export function readSystemStats(stats: unknown): SystemStats | undefined {
  const { devices, system } = fields(stats)
  const device = fields(Array.isArray(devices) ? devices[0] : undefined)
  if (typeof device.type !== 'string' || device.type === '') return undefined
  const { comfyui_version: version } = fields(system)
  const said = typeof version === 'string' ? plain(version, { limit: 40 }) : ''
  return { version: said === '' ? undefined : said, device }
}
