import { readFileSync } from 'node:fs'

/** Kept for ComfyUI's connections (256), and for files, logs and what Node itself has open. */
const KEPT = 384

/** For clients. */
export interface Room {
  /** Clients' connections, WebSockets included. */
  readonly connections: number
  /** WebSockets among them: each has a connection to ComfyUI of its own besides. */
  readonly sockets: number
}

/**
 * How many connections and WebSockets to take at most, so that there are always descriptors left to dial ComfyUI with: a
 * process that may open few files (1,024 is common) would else be filled by clients that do nothing.
 */
export function placesWithin(wanted: number, descriptors: number): Room {
  const free = descriptors - KEPT
  const connections = Math.min(wanted, Math.floor(Math.max(descriptors / 2, (free * 2) / 3)))
  const sockets = Math.min(connections, Math.floor(Math.max(descriptors / 8, free - connections)))
  return { connections, sockets }
}

/** What this process may open (Node has raised it as far as it may); Infinity where the system does not say. */
export function descriptorLimit(): number {
  try {
    const soft = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1'))
    return soft ? Number(soft[1]) : Number.POSITIVE_INFINITY
  } catch {
    return Number.POSITIVE_INFINITY
  }
}
