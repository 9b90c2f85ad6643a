import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { summarise, UNAVAILABLE } from '../../src/health/summary.ts'

const recorded = {
  system: { os: 'linux', comfyui_version: '0.33.0' },
  devices: [
    { name: 'cpu', type: 'cpu', index: null, vram_total: 25276510208, vram_free: 22816387072, torch_vram_total: 0 },
    { name: 'cuda:1 other', type: 'cuda', index: 1, vram_total: 1, vram_free: 1 },
  ],
}

describe('the guide’s summary', () => {
  test('takes the first device and splits one running prompt off the queue', () => {
    expect(JSON.stringify(summarise(recorded, { exec_info: { queue_remaining: 3 } }))).toBe(
      '{"status":"ok","queue":{"pending":2,"running":1},"device":{"name":"cpu","type":"cpu"},"vram":{"total":25276510208,"free":22816387072}}',
    )
  })

  test('an empty queue has nothing running', () => {
    expect(summarise(recorded, { exec_info: { queue_remaining: 0 } }).queue).toEqual({ pending: 0, running: 0 })
  })

  test('what is absent is null, not 0', () => {
    const answer = summarise({ devices: [{ name: 'mps', type: 'mps', vram_total: 'N/A' }] }, '<html>')
    expect(answer).toEqual({
      status: 'ok',
      queue: { pending: null, running: null },
      device: { name: 'mps', type: 'mps' },
      vram: { total: null, free: null },
    })
  })

  test.each([undefined, null, [], 'x', {}, { devices: [] }, { devices: [null] }, { devices: [{}] }])(
    'a body that names no device is unavailable: %j',
    (body) => {
      expect(summarise(body, { exec_info: { queue_remaining: 1 } })).toBe(UNAVAILABLE)
    },
  )

  test('no JSON whatever makes it throw', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), (a, b) => ['ok', 'unavailable'].includes(summarise(a, b).status)),
    )
  })
})
