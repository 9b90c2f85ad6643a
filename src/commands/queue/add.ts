import { randomUUID } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { basename, resolve } from 'node:path'
import { Command } from '../../cli/command.ts'
import { Args, Flags, parseDuration } from '../../cli/flags.ts'
import { writeJson } from '../../comfy/json.ts'
import { plain } from '../../comfy/plain.ts'
import { applySettings } from '../../comfy/prepare.ts'
import { readWorkflowFrom } from '../../comfy/read-source.ts'
import { variations } from '../../comfy/variations.ts'
import { serialise, type Workflow } from '../../comfy/workflow.ts'
import { ComfyAuthError } from '../../errors.ts'
import { errorText } from '../../files/errno.ts'
import { paths } from '../../files/home.ts'
import type { NewJob } from '../../queue/job.ts'
import { parseMoment } from '../../queue/moment.ts'
import { HIGHEST_PRIORITY, type JobDefaults, readJobs } from '../../queue/read-jobs.ts'
import { openStore } from '../../queue/store.ts'

interface AddResult {
  readonly added: number
  readonly ids: readonly string[]
}

interface VariationFlags {
  readonly set?: readonly string[] | undefined
  readonly seed?: string | undefined
  readonly count?: number | undefined
  readonly label?: string | undefined
}

/** A duration from now, or a moment. */
function moment(text: string, nowMs: number): number {
  const exact = parseMoment(text)
  if (exact !== undefined) return exact
  try {
    return nowMs + parseDuration(text)
  } catch {
    throw new ComfyAuthError('usage', '--not-before is neither a duration nor a moment.', {
      remedy: 'Write 30m, 8h, 2027-01-31 (its beginning, UTC) or 2027-01-31T18:00:00+01:00.',
    })
  }
}

/** stdin, or the file's bytes. */
async function* contentOf(path: string): AsyncGenerator<Uint8Array> {
  if (path === '-' && process.stdin.isTTY) {
    throw new ComfyAuthError('usage', 'There is nothing to read: stdin is a terminal.', {
      remedy: 'Name a file, or send the jobs through a pipe: `comfy-auth queue add --ndjson - < jobs.ndjson`.',
    })
  }
  try {
    yield* (path === '-' ? process.stdin : createReadStream(path)) as AsyncIterable<Buffer>
  } catch (error) {
    throw new ComfyAuthError('usage', `The file of jobs cannot be read: ${errorText(error)}.`, {
      remedy: 'Name a file with one job a line, or - for stdin.',
      cause: error,
    })
  }
}

function jobOf(workflow: Workflow, label: string, defaults: JobDefaults): NewJob {
  const { output, priority, notBeforeMs, nowMs, newId } = defaults
  return {
    id: newId(),
    workflow: serialise(workflow),
    ...(workflow.extraData ? { extraData: writeJson(workflow.extraData) } : {}),
    label: plain(label, { limit: 200 }).replaceAll(/\s+/g, ' '),
    output,
    priority,
    ...(notBeforeMs === undefined ? {} : { notBeforeMs }),
    addedMs: nowMs,
  }
}

export default class QueueAdd extends Command {
  static override summary = 'Keep a workflow in the durable queue, for `queue work` to deliver.'
  static override description = `Prints the job's id once the job is on disk. Nothing is sent: no server needs to be up.
With --ndjson each line is one job: a workflow, or {"prompt": WORKFLOW} with any of "output", "priority", "not_before", "label", "extra_data" and "prompt_id" beside it. All lines are added, or none.`
  static override examples = [
    {
      description: 'One workflow, its pictures to go to ./cats:',
      command: '<%= config.bin %> queue add cat.json --output cats',
    },
    {
      description: 'Another seed, before all others, not before tonight:',
      command: '<%= config.bin %> queue add cat.json --set 3.seed=42 --priority 10 --not-before 8h',
    },
    {
      description: 'Twenty jobs, each with a seed of its own:',
      command: '<%= config.bin %> queue add cat.json --seed random --count 20',
    },
    { description: 'Many at once, a job a line:', command: '<%= config.bin %> queue add --ndjson - < jobs.ndjson' },
  ]
  static override args = {
    workflow: Args.string({ required: true, description: 'API-format JSON, a PNG that ComfyUI saved, or - for stdin' }),
  }
  static override flags = {
    set: Flags.string({
      multiple: true,
      multipleNonGreedy: true,
      helpValue: 'NODE.INPUT=VALUE',
      description: 'change an input; NODE is an id, a title or a class',
    }),
    seed: Flags.string({ helpValue: 'N|random', description: 'put N into every seed and noise_seed' }),
    count: Flags.integer({
      min: 1,
      max: 10_000,
      helpValue: 'N',
      description: 'so many jobs, the seed one higher each time [default: 1]',
    }),
    output: Flags.string({ helpValue: 'DIR', description: 'where its outputs go [default: this folder]' }),
    label: Flags.string({ helpValue: 'TEXT', description: "what lists call it [default: the file's name]" }),
    priority: Flags.integer({
      default: 0,
      min: -HIGHEST_PRIORITY,
      max: HIGHEST_PRIORITY,
      helpValue: 'N',
      description: 'higher goes first',
    }),
    'not-before': Flags.string({
      helpValue: 'DURATION|DATE',
      description: 'do not send it before: 8h, or 2027-01-31T18:00:00Z',
    }),
    ndjson: Flags.boolean({
      exclusive: ['set', 'seed', 'count', 'label'],
      description: 'WORKFLOW holds one job a line',
    }),
    queue: Flags.string({ helpValue: 'FILE', description: 'the queue [default: queue.db in the data folder]' }),
  }

  async run(): Promise<AddResult> {
    const { args, flags } = await this.parse(QueueAdd)
    const nowMs = Date.now()
    const when = flags['not-before']
    const defaults: JobDefaults = {
      output: resolve(flags.output ?? ''),
      priority: flags.priority,
      ...(when === undefined ? {} : { notBeforeMs: moment(when, nowMs) }),
      nowMs,
      newId: randomUUID,
    }
    const jobs = flags.ndjson
      ? await readJobs(contentOf(args.workflow), defaults)
      : await this.#variations(args.workflow, flags, defaults)
    const store = await openStore(flags.queue ?? paths().queueDb)
    try {
      await store.add(jobs)
    } finally {
      store.close()
    }
    const ids = jobs.map(({ id }) => id)
    if (ids.length > 0) this.log(ids.join('\n'))
    if (flags.ndjson && !this.jsonEnabled()) this.note(`Added ${ids.length} ${ids.length === 1 ? 'job' : 'jobs'}.`)
    return { added: ids.length, ids }
  }

  async #variations(path: string, flags: VariationFlags, defaults: JobDefaults): Promise<NewJob[]> {
    const read = await readWorkflowFrom(path, process.stdin)
    const { workflow } = applySettings(read, { set: flags.set ?? [], image: [] })
    const label = flags.label ?? (path === '-' ? 'stdin' : basename(path))
    return variations(workflow, flags).map((varied) => jobOf(varied.workflow, label, defaults))
  }
}
