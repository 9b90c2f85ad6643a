import { existsSync, globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import Serve from '../src/commands/serve.ts'
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

/** A heading's anchor, as GitHub makes it. */
function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replaceAll(/[^\w\- ]/g, '')
    .replaceAll(' ', '-')
}

test.for(['README.md', 'CONTRIBUTING.md', 'SECURITY.md', ...globSync('docs/**/*.md').sort()])(
  'the links of %s lead somewhere',
  (page) => {
    const prose = readFileSync(page, 'utf8').replaceAll(/^```.*?^```|`[^`\n]*`/gms, '`code`')
    for (const [, link] of prose.matchAll(/(?:\]\(|src="|srcset=")([^)"\s]+)/g)) {
      if (/^https?:/.test(link!)) continue
      const [file, anchor] = link!.split('#')
      const target = file ? join(dirname(page), file) : page
      expect(existsSync(target), link).toBe(true)
      if (anchor === undefined) continue
      const headings = [...readFileSync(target, 'utf8').matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
        anchorOf(heading!),
      )
      expect(headings, link).toContain(anchor)
    }
  },
)

test("the tables of docs/serve.md hold serve's flags, each once, and no other", () => {
  const rows = readFileSync('docs/serve.md', 'utf8').match(/^\| `--[^|]*/gm) ?? []
  const told = rows.flatMap((row) => [...row.matchAll(/`--([a-z-]+)/g)].map(([, name]) => name))
  expect(told.sort()).toEqual(Object.keys(Serve.flags).sort())
})
