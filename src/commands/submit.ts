import { isAbsolute, relative } from 'node:path'
import { Command } from '../cli/command.ts'
import { Args, duration, Flags } from '../cli/flags.ts'
import { createProgress } from '../cli/progress.ts'
import { serverFlags } from '../cli/server-flags.ts'
import { type BatchItem, runBatch, submitBatch } from '../comfy/batch.ts'
import { requireComfy } from '../comfy/check-server.ts'
import { createClient } from '../comfy/client.ts'
import { writeJsonIndented } from '../comfy/json.ts'
import { prepareOutputDir } from '../comfy/outputs.ts'
import { plain } from '../comfy/plain.ts'
import { applySettings, placeFiles } from '../comfy/prepare.ts'
import { readWorkflowFrom } from '../comfy/read-source.ts'
import type { RunEvent } from '../comfy/run-prompt.ts'
import { describeProblem } from '../comfy/submit.ts'
import { tell } from '../comfy/telling.ts'
import { variations } from '../comfy/variations.ts'
import { serialise, toJson } from '../comfy/workflow.ts'
import { resolveServer } from '../profiles/credential.ts'

interface SubmitResult {
  readonly prompts: readonly {
    readonly prompt_id: string | null
    readonly status: 'success' | 'submitted' | 'dry-run'
    readonly seed: string | null
    readonly outputs: readonly { readonly node: string; readonly filename: string; readonly path: string | null }[]
    readonly texts: readonly { readonly node: string; readonly text: string }[]
    readonly warnings: readonly string[]
    /** --dry-run: the JSON text that would be sent, its numbers digit for digit. */
    readonly prompt?: string
  }[]
}

function shown({ promptId, status, seed, outputs, texts, problems }: BatchItem): SubmitResult['prompts'][number] {
  return {
    prompt_id: promptId,
    status,
    seed: seed ?? null,
    outputs: outputs.map(({ node, filename, path }) => ({ node, filename, path: path ?? null })),
    texts,
    warnings: problems.map(describeProblem),
  }
}

/** Below a relative --output a relative path, as `ls` would have it. */
function asGiven(path: string, output: string): string {
  return isAbsolute(output) ? path : relative(process.cwd(), path)
}

async function askWhetherToCancel(): Promise<boolean> {
  if (!process.stdin.isTTY || !process.stderr.isTTY) return true
  const { default: inquirer } = await import('inquirer')
  const ask = inquirer.createPromptModule({ output: process.stderr })
  const answer = await ask([
    { type: 'confirm', name: 'cancel', message: 'Cancel it on the server too?', default: true },
  ]).catch(() => ({ cancel: false }))
  return answer.cancel
}

export default class Submit extends Command {
  static override summary = 'Run a workflow on the server and keep its pictures.'
  static override description =
    `WORKFLOW is an API-format file (in ComfyUI: Workflow > Export (API)), a PNG that ComfyUI saved, or - for stdin.
NODE is a node's id, its title or its class name. Paths of the outputs go to stdout, progress to stderr.
Nothing is ever overwritten. Ctrl-C cancels the prompt on the server.`
  static override examples = [
    {
      description: 'Run a workflow; its pictures come into this folder:',
      command: '<%= config.bin %> submit workflow.json',
    },
    {
      description: 'With another text and seed, into a folder:',
      command: '<%= config.bin %> submit workflow.json --set 6.text="a red fox" --seed 42 --output pictures',
    },
    {
      description: 'Four variations, each with a seed of its own:',
      command: '<%= config.bin %> submit workflow.json --seed random --count 4',
    },
    {
      description: 'With a picture of yours in a LoadImage node:',
      command: '<%= config.bin %> submit edit.json --image LoadImage.image=photo.png',
    },
    {
      description: 'Again what made a picture, larger:',
      command: '<%= config.bin %> submit ComfyUI_00001_.png --set EmptyLatentImage.width=1024',
    },
    {
      description: 'See what would be sent:',
      command: '<%= config.bin %> submit workflow.json --set 3.steps=30 --dry-run',
    },
  ]
  static override args = {
    workflow: Args.string({ required: true, description: 'API-format JSON file, PNG of ComfyUI, or - for stdin' }),
  }
  static override flags = {
    set: Flags.string({
      multiple: true,
      multipleNonGreedy: true,
      helpValue: 'NODE.INPUT=VALUE',
      description: 'set an input (repeatable)',
    }),
    image: Flags.string({
      multiple: true,
      multipleNonGreedy: true,
      helpValue: 'NODE.INPUT=FILE',
      description: 'upload FILE, and set the input to it (repeatable)',
    }),
    seed: Flags.string({ helpValue: 'N|random', description: 'put N into every seed and noise_seed' }),
    count: Flags.integer({
      min: 1,
      max: 10_000,
      default: 1,
      description: 'so many prompts, the seed one higher each time',
    }),
    output: Flags.string({ helpValue: 'DIR', default: '.', description: 'where outputs are kept' }),
    'dry-run': Flags.boolean({ description: 'print what would be sent, and send nothing' }),
    'no-wait': Flags.boolean({ exclusive: ['dry-run', 'timeout'], description: 'print the prompt ids and leave' }),
    timeout: duration({ description: 'how long a prompt may take, as in 10m [default: no limit]' }),
    strict: Flags.boolean({ description: 'refuse where the server accepts only a part of the outputs' }),
    ...serverFlags,
  }

  async run(): Promise<SubmitResult> {
    const { args, flags } = await this.parse(Submit)
    const source = await readWorkflowFrom(args.workflow, process.stdin)
    const { workflow, files } = applySettings(source, { set: flags.set ?? [], image: flags.image ?? [] })
    const options = { seed: flags.seed, count: flags.count }
    variations(workflow, options) // a bad seed is said before anything is uploaded
    if (flags['dry-run']) {
      const prompts = variations(await placeFiles(workflow, files, {}), options)
      for (const prompt of prompts) this.log(writeJsonIndented(toJson(prompt.workflow)))
      return {
        prompts: prompts.map(({ workflow: varied, seed }) => ({
          ...{ prompt_id: null, status: 'dry-run', seed: seed ?? null, outputs: [], texts: [], warnings: [] },
          prompt: serialise(varied),
        })),
      }
    }
    if (!flags['no-wait']) await prepareOutputDir(flags.output)
    const { url, key } = await resolveServer(flags)
    const client = createClient({ url, key })
    const progress = createProgress({ json: this.jsonEnabled() })
    const onEvent = (event: RunEvent): void => {
      const told = tell(event)
      if (told) progress.update(told)
      if (event.type === 'warning') {
        progress.done()
        this.caution(event.message)
      }
    }
    const report = (item: BatchItem): void => {
      progress.done()
      for (const problem of item.problems) this.caution(`${describeProblem(problem)} (left out; the rest runs)`)
      for (const { node, text } of item.texts)
        this.note(`node ${plain(node, { limit: 40 })}: ${plain(text, { limit: 20_000, lines: true })}`)
      if (item.status === 'submitted') this.log(item.promptId)
      for (const { path } of item.outputs) if (path !== undefined) this.log(asGiven(path, flags.output))
      if (item.status === 'success' && item.outputs.length === 0)
        this.note(`Prompt ${item.promptId} ended and put out no file.`)
    }
    try {
      const { signal } = this
      await requireComfy(client, signal)
      const prompts = variations(await placeFiles(workflow, files, { client, signal, onEvent }), options)
      const common = { client, signal, onEvent, variations: prompts, strict: flags.strict }
      const shallCancel = (): Promise<boolean> => {
        progress.done()
        return askWhetherToCancel()
      }
      const items = flags['no-wait']
        ? await submitBatch(common, report)
        : await runBatch({ ...common, outputDir: flags.output, timeoutMs: flags.timeout, shallCancel }, report)
      return { prompts: items.map(shown) }
    } finally {
      progress.done()
      await client.close()
    }
  }
}
