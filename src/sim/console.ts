import type { Writable } from './json.ts'

const KEEP = 300

/** The server's console, as /internal/logs and the `logs` frames show it. */
export interface Console {
  line(text: string): void
  readonly entries: readonly { readonly t: string; readonly m: string }[]
  subscribe(clientId: string, enabled: boolean): void
}

/** `send` reaches one client; false where it has no socket: its subscription then ends. */
export function createConsole(nowMs: () => number, send: (data: Writable, clientId: string) => boolean): Console {
  const entries: { t: string; m: string }[] = []
  const subscribers = new Set<string>()
  let sized = false
  return {
    entries,
    line(text) {
      const entry = {
        t: `${new Date(nowMs()).toISOString().slice(0, -1)}000`,
        m: `\u001b[32m[INFO]\u001b[0m ${text}\n`,
      }
      entries.push(entry)
      if (entries.length > KEEP) entries.shift()
      if (subscribers.size === 0) return
      // The terminal's size comes once, with the first lines that anybody gets.
      const size = sized ? null : { cols: 80, rows: 24 }
      sized = true
      for (const client of subscribers) if (!send({ entries: [entry], size }, client)) subscribers.delete(client)
    },
    subscribe(clientId, enabled) {
      if (enabled) subscribers.add(clientId)
      else subscribers.delete(clientId)
    },
  }
}
