import { readFileSync } from 'node:fs'
import { WebSocket } from 'ws'
import type { Sim } from '../../../src/sim/sim.ts'
import { maskJson } from './shape.ts'

export interface RecordedFrame {
  readonly text?: string
  readonly base64?: string
  readonly bytes?: number
  readonly head_base64?: string
}

export interface Session {
  readonly name: string
  readonly server: string
  readonly client_id: string | null
  readonly observer_client_id?: string
  readonly prompt: Record<string, unknown> | null
  readonly request_extra?: Record<string, unknown>
  readonly response: { readonly status: number; readonly json: unknown } | null
  readonly second_response?: { readonly status: number; readonly json: { readonly prompt_id: string } }
  readonly cancel_responses?: readonly { readonly status: number; readonly json: unknown }[]
  readonly sent?: readonly { readonly text?: string; readonly bytes?: number }[]
  readonly close?: { readonly code: number }
  readonly frames: readonly RecordedFrame[]
  readonly observer_frames?: readonly RecordedFrame[]
  readonly frames_after_reconnect?: readonly RecordedFrame[]
  readonly first_socket_frames?: readonly RecordedFrame[]
}

export const SESSIONS = JSON.parse(
  readFileSync(new URL('../../fixtures/comfyui-0.33.0/ws-sessions.json', import.meta.url), 'utf8'),
) as readonly Session[]

/** A socket that keeps what it gets. */
export interface Listener {
  readonly frames: RecordedFrame[]
  readonly socket: WebSocket
  /** Resolves once a frame satisfies `test`; earlier ones count too. */
  until(test: (frame: RecordedFrame, count: number) => boolean): Promise<void>
  readonly closed: Promise<number>
}

/** Opens /ws and waits for the first frame. */
export async function listen(sim: Sim, clientId: string | null): Promise<Listener> {
  const socket = new WebSocket(`${sim.url.replace('http', 'ws')}/ws${clientId === null ? '' : `?clientId=${clientId}`}`)
  const frames: RecordedFrame[] = []
  let waiting: (() => void)[] = []
  socket.on('message', (data, binary) => {
    const bytes = data as Buffer
    frames.push(binary ? { base64: bytes.toString('base64'), bytes: bytes.length } : { text: bytes.toString() })
    for (const look of waiting) look()
  })
  const closed = new Promise<number>((resolve) => socket.on('close', resolve))
  const until: Listener['until'] = (test) =>
    new Promise((resolve) => {
      const look = () => {
        if (!frames.some((frame, index) => test(frame, index + 1))) return
        waiting = waiting.filter((other) => other !== look)
        resolve()
      }
      waiting.push(look)
      look()
    })
  await new Promise((resolve, reject) => {
    socket.on('open', resolve)
    socket.on('error', reject)
  })
  await until((frame) => frame.text?.includes('"status"') === true)
  return { frames, socket, until, closed }
}

const FORMATS: Readonly<Record<number, string>> = { 1: 'JPEG', 2: 'PNG' }

function binaryOf(frame: RecordedFrame): unknown {
  const bytes = Buffer.from(frame.base64 ?? frame.head_base64 ?? '', 'base64')
  const type = bytes.readUInt32BE(0)
  if (type === 1) return { binary: 1, format: FORMATS[bytes.readUInt32BE(4)] }
  if (type === 3) return { binary: 3, node: bytes.readUInt32BE(4), text: bytes.toString('utf8', 8) }
  const length = bytes.readUInt32BE(4)
  return {
    binary: type,
    metadata: maskJson(bytes.toString('utf8', 8, 8 + length)),
    magic: bytes.toString('hex', 8 + length, 10 + length),
  }
}

/** Frames with what is volatile masked. */
export function normal(frames: readonly RecordedFrame[]): unknown[] {
  return frames.map((frame) => (frame.text === undefined ? binaryOf(frame) : maskJson(frame.text)))
}

const typeOf = (frame: unknown) => (frame as { type?: string }).type ?? `binary${(frame as { binary: number }).binary}`

/** The types of frames in order where their number hangs on timing: status frames apart, the steps of a running node as one. */
export function loose(frames: readonly RecordedFrame[]): { statuses: unknown[]; order: string } {
  const all = normal(frames)
  const types = all.map(typeOf).filter((type) => type !== 'status')
  const order = `${types.join(' ')} `
    .replace(/(?:progress_state progress binary1 )+/g, '<steps> ')
    // A socket may begin or end to listen in the middle of a step.
    .replace(/(?:progress )?binary1 (?=<steps>)/g, '')
    .replace(/<steps> progress_state (?:progress )?$/, '<steps> ')
  return { statuses: all.filter((frame) => typeOf(frame) === 'status'), order }
}
