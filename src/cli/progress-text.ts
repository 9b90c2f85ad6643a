import type { Progress, ProgressEvent, ProgressStream } from './progress.ts'
import { textWidth } from './table.ts'

const EVERY_MS = 50
const BAR = 24
const CLEAR = '\r\u001b[K'

function bar(fraction: number): string {
  const full = Math.round(Math.min(1, Math.max(0, fraction)) * BAR)
  return `${'█'.repeat(full)}${'░'.repeat(BAR - full)} ${String(Math.floor(fraction * 100)).padStart(3)}%`
}

/** As much of the text as the line holds: a line that wraps would not be cleared whole. */
function cut(text: string, columns: number): string {
  let kept = text
  while (textWidth(kept) > columns) kept = [...kept].slice(0, -1).join('')
  return kept
}

/** On a terminal one line that is redrawn; elsewhere (a log, cron) one line a label, and no bar. */
export function textProgress(stream: ProgressStream, nowMs: () => number): Progress {
  let lastLabel: string | undefined
  let drawnMs = Number.NEGATIVE_INFINITY
  let waiting: ProgressEvent | undefined
  const live = stream.isTTY === true && process.env.TERM !== 'dumb'

  const draw = (event: ProgressEvent) => {
    const { label, fraction, detail } = event
    const parts = [fraction === undefined ? '' : bar(fraction), label, detail ?? '']
    stream.write(CLEAR + cut(parts.filter(Boolean).join('  '), (stream.columns ?? 80) - 1))
    drawnMs = nowMs()
    waiting = undefined
  }

  return {
    update(event) {
      if (live) {
        waiting = event
        if (nowMs() - drawnMs >= EVERY_MS || event.fraction === 1 || event.label !== lastLabel) draw(event)
      } else if (event.label !== lastLabel) {
        stream.write(`${event.label}${event.detail ? `: ${event.detail}` : ''}\n`)
      }
      lastLabel = event.label
    },
    done() {
      if (live && (lastLabel !== undefined || waiting)) stream.write(CLEAR)
      lastLabel = undefined
    },
  }
}
