import type { RunEvent } from './track.ts'

/** A run's event as a progress bar shows it. */
export interface Told {
  readonly label: string
  readonly fraction?: number
  readonly detail?: string
}

/** What a progress bar says to an event; undefined: nothing new to say. */
export function tell(event: RunEvent): Told | undefined {
  switch (event.type) {
    case 'uploading':
      return { label: `Uploading ${event.file}`, fraction: event.fraction }
    case 'submitted':
      return { label: 'Submitted', detail: event.promptId }
    case 'queued':
      return event.ahead === undefined
        ? { label: 'Waiting in the queue' }
        : { label: 'Waiting in the queue', detail: `${event.ahead} before it` }
    case 'node':
      return { label: event.title, fraction: event.fraction }
    case 'progress':
      return { label: event.title, fraction: event.fraction, detail: `${event.value}/${event.max}` }
    case 'downloading':
      return event.fraction === undefined
        ? { label: `Downloading ${event.filename}` }
        : { label: `Downloading ${event.filename}`, fraction: event.fraction }
    case 'connection':
      return event.state === 'unreachable' ? { label: 'The server is out of reach; waiting for it' } : undefined
    default:
      return undefined
  }
}
