import { globSync, readFileSync } from 'node:fs'
import { describe, test } from 'vitest'
import { play, sessionsOf } from './support/transcript.ts'

const sessions = ['README.md', ...globSync('docs/*.md').sort()].flatMap((page) =>
  sessionsOf(readFileSync(page, 'utf8')).map((session, index) => ({ name: `${page}, session ${index + 1},`, session })),
)

test.for(sessions)('$name holds when it is played', async ({ session }) => {
  await play(session)
})

describe.each(globSync('test/e2e/*.txt').sort())('%s', (file) => {
  test('holds when it is played', async () => {
    await play(readFileSync(file, 'utf8'))
  })
})
