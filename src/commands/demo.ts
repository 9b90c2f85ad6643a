import { once } from 'node:events'
import { resolve } from 'node:path'
import { bold, dim, green } from '../cli/colour.ts'
import { Command } from '../cli/command.ts'
import { Flags } from '../cli/flags.ts'
import { createProgress } from '../cli/progress.ts'
import { prepareOutputDir } from '../comfy/outputs.ts'
import { tell } from '../comfy/telling.ts'
import { type Demo, makePicture, type Picture, type Refusal, startDemo, tryWithoutKey } from '../demo/demo.ts'
import { type Lines, linesToTry, shown } from '../demo/lines.ts'

interface DemoResult {
  readonly url: string
  readonly simulated: string
  readonly key: string
  readonly refusal: { readonly status: number; readonly body: unknown; readonly reachedComfyUI: number }
  readonly prompt_id: string
  readonly outputs: readonly string[]
  readonly try: Lines
}

/**
 * Ctrl-C or a closed terminal, once or more often: under npm and npx it arrives from the terminal and from npm, and a second one must not cut
 * off the ending.
 */
function untilStopped(): AbortSignal {
  const stop = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => stop.abort())
  return stop.signal
}

export default class DemoCommand extends Command {
  static override summary = 'See it work: the lock before a simulated ComfyUI, one picture, and lines to try.'
  static override description =
    `Needs no GPU and no ComfyUI. It makes a key of its own and leaves your keyring alone: nothing stays but the picture.
Serves until Ctrl-C, so that you can log in with a browser; with --once it ends after the picture.`
  static override examples = [
    { description: 'Start it, and try what it prints:', command: '<%= config.bin %> demo' },
    { description: 'Only see that all of it works:', command: '<%= config.bin %> demo --once' },
  ]
  static override flags = {
    once: Flags.boolean({ description: 'end after the picture' }),
    output: Flags.string({ helpValue: 'DIR', default: 'comfy-auth-demo', description: 'where the picture goes' }),
    port: Flags.integer({
      min: 0,
      max: 65_535,
      default: 0,
      helpValue: 'N',
      description: 'port of the proxy; 0 is a free one',
    }),
    'web-root': Flags.string({
      helpValue: 'DIR',
      description: "show ComfyUI's own page: the static folder of comfyui-frontend-package",
    }),
  }

  /** The one JSON document is printed once the demo stands, and not again when it ends. */
  #printed = false

  override jsonEnabled(): boolean {
    return !this.#printed && super.jsonEnabled()
  }

  async run(): Promise<DemoResult | undefined> {
    const { flags } = await this.parse(DemoCommand)
    const signal = untilStopped()
    const output = resolve(flags.output)
    await prepareOutputDir(output)
    const demo = await startDemo({ port: flags.port, webRoot: flags['web-root'] })
    try {
      this.#introduce(demo)
      const refusal = await tryWithoutKey(demo)
      this.#showRefusal(refusal)
      const picture = await this.#picture(demo, output, signal)
      const lines = linesToTry(demo, output, {
        cwd: process.cwd(),
        path: process.env.PATH ?? '',
        execPath: process.execPath,
      })
      const result = {
        url: demo.url,
        simulated: demo.simUrl,
        key: demo.key,
        refusal: { status: refusal.status, body: JSON.parse(refusal.body), reachedComfyUI: refusal.seen },
        prompt_id: picture.promptId,
        outputs: picture.paths,
        try: lines,
      }
      if (flags.once) return result
      if (this.jsonEnabled()) this.logJson(this.toSuccessJson(result))
      else this.#invite(lines)
      this.#printed = true
      if (!signal.aborted) await once(signal, 'abort')
      return undefined
    } catch (error) {
      if (!signal.aborted) throw error // Ctrl-C is how a demo ends
      this.#printed = true
      return undefined
    } finally {
      await demo.close()
    }
  }

  #introduce(demo: Demo): void {
    this.log(`${bold('ComfyUI, simulated')}  ${demo.simUrl}`)
    this.log(`${bold('The lock before it')}  ${demo.url}`)
    this.log(`${bold('A key of its own')}    ${demo.key}`)
  }

  #showRefusal({ status, body }: Refusal): void {
    this.log(`\n${bold('A workflow without the key')}`)
    this.log(`  ${green(String(status))} ${body.trim()}`)
    this.log(dim('  Refused; ComfyUI has not seen it.'))
  }

  async #picture(demo: Demo, output: string, signal: AbortSignal): Promise<Picture> {
    this.log(`\n${bold('The same workflow with the key')}`)
    const progress = createProgress({ json: this.jsonEnabled() })
    try {
      const picture = await makePicture(demo, {
        output,
        signal,
        onEvent: (event) => {
          const told = tell(event)
          if (told) progress.update(told)
        },
      })
      progress.done()
      for (const path of picture.paths) this.log(`  ${green('Saved')} ${shown(path, process.cwd())}`)
      return picture
    } finally {
      progress.done()
    }
  }

  #invite({ login, curl, python, cli }: Lines): void {
    this.log(`\n${bold('Try it yourself')}`)
    const groups: [string, string][] = [
      ['In a browser, with the key above:', login],
      ['With curl:', curl],
      ['With Python:', python],
      ['With comfy-auth, another picture:', cli],
    ]
    for (const [title, line] of groups) this.log(`\n${dim(`  ${title}`)}\n${line}`)
    this.log(dim('\nServing until Ctrl-C. The key ends with it.'))
  }
}
