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

describe('the sixteen rules of docs/security.md', () => {
  const sections = readFileSync('docs/security.md', 'utf8').split(/^## /m)
  const rules = sections.filter((section) => /^\d+\. /.test(section))
  const testsOf = (section: string) => [...section.matchAll(/`(test\/[^`]+)`/g)].map(([, file]) => file!)

  test('stand in their order, each with what earned it', () => {
    expect(rules.map((rule) => Number.parseInt(rule, 10))).toEqual(Array.from({ length: 16 }, (_, i) => i + 1))
    for (const rule of rules) expect(rule).toMatch(/^\*Earned by\* /m)
  })

  test('name the tests that hold them, and every test of security is named', () => {
    for (const rule of rules) expect(testsOf(rule.split('*Held by*')[1] ?? ''), rule.slice(0, 20)).not.toEqual([])
    const named = sections.flatMap(testsOf)
    expect(named.filter((file) => !existsSync(file))).toEqual([])
    expect(globSync('test/security/*.test.ts').filter((file) => !named.includes(file))).toEqual([])
  })
})

test("the tables of docs/serve.md hold serve's flags, each once, and no other", () => {
  const rows = readFileSync('docs/serve.md', 'utf8').match(/^\| `--[^|]*/gm) ?? []
  const told = rows.flatMap((row) => [...row.matchAll(/`--([a-z-]+)/g)].map(([, name]) => name))
  expect(told.sort()).toEqual(Object.keys(Serve.flags).sort())
})
