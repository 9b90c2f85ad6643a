import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const PAGE = readFileSync(join(import.meta.dirname, '../../docs/faults.md'), 'utf8')

/** The table under this heading of docs/faults.md: the first cell of each row, and the others. */
export function rowsOf(heading: string): ReadonlyMap<string, readonly string[]> {
  const section = PAGE.split(/^## /m).find((text) => text.startsWith(`${heading}\n`))
  if (section === undefined) throw new Error(`docs/faults.md has no section ${heading}`)
  const rows = (section.match(/^\|.*\|$/gm) ?? []).map((line) =>
    line
      .slice(1, -1)
      .split('|')
      .map((cell) => cell.trim()),
  )
  return new Map(rows.slice(2).map(([first, ...others]) => [first!, others]))
}
