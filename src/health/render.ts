import { renderNagios } from './nagios.ts'
import { renderPrometheus } from './prometheus.ts'
import type { Judged } from './report.ts'
import { type Paint, renderText } from './text.ts'

export const FORMATS = ['text', 'json', 'nagios', 'prometheus'] as const
export type Format = (typeof FORMATS)[number]

export interface RenderOptions {
  readonly format: Format
  readonly verbose: boolean
  /** One of many (`--watch`): JSON in one line, text with its time above it. */
  readonly streamed: boolean
  readonly nowMs: number
  readonly paint: Paint
}

/** The report in one of the four formats, with the newline at its end. */
export function render(judged: Judged, options: RenderOptions): string {
  const { format, verbose, streamed, nowMs } = options
  switch (format) {
    case 'json':
      return `${JSON.stringify({ schema: 1, ...judged.report }, null, streamed ? 0 : 2)}\n`
    case 'nagios':
      return renderNagios(judged, verbose)
    case 'prometheus':
      return renderPrometheus(judged, nowMs)
    case 'text':
      return `${streamed ? `${new Date(nowMs).toISOString()}\n` : ''}${renderText(judged.report, options)}`
  }
}
