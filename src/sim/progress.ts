import { PyFloat, type Writable } from './json.ts'

/** The states of a prompt's nodes, sent whole whenever one changes. */
export interface Progress {
  start(id: string): void
  update(id: string, value: number, max: number): void
  finish(id: string): void
}

interface State {
  value: number | PyFloat
  max: number | PyFloat
  state: 'running' | 'finished'
}

/** A node that starts counts in floats, one that reports in what it reports, a cached one in integers: as recorded. */
export function createProgress(promptId: string, send: (nodes: Writable) => void): Progress {
  const states = new Map<string, State>()
  const sendAll = () => {
    const nodes = new Map<string, Writable>()
    for (const [id, { value, max, state }] of states) {
      nodes.set(id, {
        value,
        max,
        state,
        node_id: id,
        prompt_id: promptId,
        display_node_id: id,
        parent_node_id: null,
        real_node_id: id,
      })
    }
    send(nodes)
  }
  return {
    start(id) {
      states.set(id, { value: new PyFloat(0), max: new PyFloat(1), state: 'running' })
      sendAll()
    },
    update(id, value, max) {
      states.set(id, { value, max, state: 'running' })
      sendAll()
    },
    finish(id) {
      const max = states.get(id)?.max ?? 1
      states.set(id, { value: max, max, state: 'finished' })
      sendAll()
    },
  }
}
