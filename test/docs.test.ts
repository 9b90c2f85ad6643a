import { globSync, readFileSync } from 'node:fs'
import { describe, test } from 'vitest'
import { play, sessionsOf } from './support/transcript.ts'

const pages = ['README.md', ...globSync('docs/*.md').sort()]

describe.each(pages)('%s', (page) => {
  const sessions = sessionsOf(readFileSync(page, 'utf8'))
  test.for(sessions.map((session, index) => ({ session, name: `session ${index + 1}` })))(
    '$name holds when it is played',
    async ({ session }) => {
      await play(session)
    },
  )
})

describe.each(globSync('test/e2e/*.txt').sort())('%s', (file) => {
  test('holds when it is played', async () => {
    await play(readFileSync(file, 'utf8'))
  })
})
