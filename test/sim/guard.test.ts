import { expect, test } from 'vitest'
import { isForeign } from '../../src/sim/guard.ts'

test.each([
  { headers: {}, foreign: false },
  { headers: { 'sec-fetch-site': 'cross-site' }, foreign: true },
  { headers: { host: 'studio.example', 'sec-fetch-site': 'cross-site' }, foreign: true },
  { headers: { 'sec-fetch-site': 'same-site' }, foreign: false },
  { headers: { host: '127.0.0.1:8188', origin: 'http://127.0.0.1:8188' }, foreign: false },
  { headers: { host: '127.0.0.1:8188', origin: 'http://127.0.0.1:9' }, foreign: true },
  { headers: { host: '127.0.0.1:8188', origin: 'http://127.0.0.1' }, foreign: false },
  { headers: { host: '127.0.0.1', origin: 'http://127.0.0.1:9' }, foreign: false },
  { headers: { host: '127.0.0.1:8188', origin: 'http://localhost:8188' }, foreign: true },
  { headers: { host: 'localhost:8188', origin: 'https://evil.example' }, foreign: true },
  { headers: { host: '[::1]:8188', origin: 'http://[::1]:8188' }, foreign: false },
  { headers: { host: '[::1]:8188', origin: 'https://evil.example' }, foreign: true },
  { headers: { host: '127.9.9.9:8188', origin: 'https://evil.example' }, foreign: true },
  { headers: { host: '127.0.0.1:8188', origin: 'null' }, foreign: false },
  { headers: { host: 'studio.example', origin: 'https://evil.example' }, foreign: false },
  { headers: { host: '8.8.8.8:8188', origin: 'https://evil.example' }, foreign: false },
])('ComfyUI takes $headers for foreign: $foreign', ({ headers, foreign }) => {
  expect(isForeign(headers)).toBe(foreign)
})
