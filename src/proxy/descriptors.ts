import { readFileSync } from 'node:fs'

/** Kept for ComfyUI's connections (256), and for files, logs and what Node itself has open. */
const KEPT = 384

/**
 * How many connections to take at most, so that there are always descriptors left to dial ComfyUI with: a process that may
 * open few files (1,024 is common) would else be filled by clients that do nothing.
 */
export function connectionsWithin(wanted: number, descriptors: number): number {
  return Math.min(wanted, Math.max(Math.floor(descriptors / 2), descriptors - KEPT))
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
