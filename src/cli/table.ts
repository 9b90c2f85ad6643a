import { stripVTControlCharacters } from 'node:util'
import { bold } from './colour.ts'

export interface Column {
  readonly header: string
  /** Numbers and sizes stand to the right. */
  readonly align?: 'left' | 'right'
}

const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Extended_Pictographic}/u

/** Columns of a terminal that the text takes. */
export function textWidth(text: string): number {
  if (/^[\x20-\x7e]*$/.test(text)) return text.length // the Segmenter takes 10 ms to start
  let width = 0
  for (const { segment } of new Intl.Segmenter().segment(stripVTControlCharacters(text)))
    width += WIDE.test(segment) ? 2 : 1
  return width
}

function padded(text: string, width: number, align: Column['align']): string {
  const blanks = ' '.repeat(Math.max(0, width - textWidth(text)))
  return align === 'right' ? blanks + text : text + blanks
}

/** Columns two blanks apart under their headers, without lines or trailing blanks, as `cut` and eyes like it. */
export function renderTable(columns: readonly (Column | string)[], rows: readonly (readonly string[])[]): string {
  const heads = columns.map((column): Column => (typeof column === 'string' ? { header: column } : column))
  const widths = heads.map(({ header }, index) =>
    // No spread of the rows: 130,000 are more arguments than a call may have.
    rows.reduce((width, row) => Math.max(width, textWidth(row[index] ?? '')), textWidth(header)),
  )
  const line = (cells: readonly string[]) =>
    heads
      .map(({ align }, index) => padded(cells[index] ?? '', widths[index]!, align))
      .join('  ')
      .trimEnd()
  return [bold(line(heads.map(({ header }) => header))), ...rows.map(line)].join('\n')
}
