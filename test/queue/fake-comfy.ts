import { createServer, type ServerResponse } from 'node:http'
import { json } from 'node:stream/consumers'
import { portOf } from '../support/ports.ts'

export interface FakeComfy {
  readonly url: string
  /** Every prompt_id that was taken, as often as it was taken. */
  readonly accepted: string[]
  /** Forgets its queue and history, as a restart does. */
  restart(): void
  close(): Promise<void>
}

/** Stands between a POST /prompt and its being taken: `take` answers it and runs it. */
export type OnPrompt = (id: string, response: ServerResponse, take: () => void) => void

/** What the queue needs of a ComfyUI: it takes prompts, runs each for one look, and has no /ws. */
export async function fakeComfy(onPrompt: OnPrompt = (_id, _response, take) => take()): Promise<FakeComfy> {
  const accepted: string[] = []
  const looks = new Map<string, number>()
  const send = (response: ServerResponse, status: number, body: unknown): void => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  }
  const server = createServer(async (request, response) => {
    const { pathname, searchParams } = new URL(request.url!, 'http://fake')
    const id = pathname.split('/').at(-1)!
    if (request.method === 'POST') {
      const { prompt_id } = (await json(request)) as { prompt_id: string }
      onPrompt(prompt_id, response, () => {
        accepted.push(prompt_id)
        looks.set(prompt_id, 0)
        send(response, 200, { prompt_id, number: accepted.length, node_errors: {} })
      })
    } else if (pathname.startsWith('/api/jobs/')) {
      const seen = looks.get(id)
      if (seen === undefined) return send(response, 404, { error: 'Job not found' })
      looks.set(id, seen + 1)
      send(response, 200, { id, status: seen === 0 ? 'in_progress' : 'completed' })
    } else if (pathname.startsWith('/history/')) {
      const outputs = { 9: { images: [{ filename: `${id}.png`, subfolder: '', type: 'output' }] } }
      const entry = { outputs, status: { status_str: 'success', completed: true, messages: [] } }
      send(response, 200, looks.has(id) ? { [id]: entry } : {})
    } else if (pathname === '/view') {
      response.end(`picture of ${searchParams.get('filename')}`)
    } else if (pathname === '/system_stats') {
      send(response, 200, { system: {}, devices: [{ name: 'cpu', type: 'cpu' }] })
    } else if (pathname === '/queue') {
      send(response, 200, { queue_running: [], queue_pending: [] })
    } else send(response, 404, {})
  })
  const port = await portOf(server)
  return {
    url: `http://127.0.0.1:${port}`,
    accepted,
    restart: () => looks.clear(),
    close: async () => {
      server.close()
      server.closeAllConnections()
    },
  }
}
