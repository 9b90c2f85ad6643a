import { expect, test } from 'vitest'
import { isInFlight, isJobState, JOB_STATES, mayMove } from '../../src/queue/job.ts'

const LEGAL = [
  'queued > queued sending cancelled',
  'sending > queued submitted running done failed refused cancelled unknown',
  'submitted > running done failed cancelled unknown',
  'running > done failed cancelled unknown',
  'done >',
  'failed > failed',
  'refused > refused',
  'cancelled > cancelled',
  'unknown > submitted running done failed cancelled',
]

test('of all 81 moves between states only these are legal', () => {
  const legal = JOB_STATES.map((from) => [from, '>', ...JOB_STATES.filter((to) => mayMove(from, to))].join(' '))
  expect(legal).toEqual(LEGAL)
})

test('nothing leads back to sending but a job that was not sent: no prompt_id is sent twice', () => {
  expect(JOB_STATES.filter((from) => mayMove(from, 'sending'))).toEqual(['queued'])
  expect(JOB_STATES.filter((from) => mayMove(from, 'queued'))).toEqual(['queued', 'sending'])
})

test('the server may hold what is being sent, submitted or running', () => {
  expect(JOB_STATES.filter(isInFlight)).toEqual(['sending', 'submitted', 'running'])
  expect(isJobState('done')).toBe(true)
  expect(isJobState('toString')).toBe(false)
})
