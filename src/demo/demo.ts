import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createClient } from '../comfy/client.ts'
import { type RunEvent, runPrompt } from '../comfy/run-prompt.ts'
import { promptBody } from '../comfy/submit.ts'
import { readWorkflow, type Workflow } from '../comfy/workflow.ts'
import { ComfyAuthError } from '../errors.ts'
import { packageFile, readPackageText } from '../files/package.ts'
import { createKey } from '../keys/lifecycle.ts'
import { openLiveKeys } from '../keys/live.ts'
import { createProxy } from '../proxy/proxy.ts'
import { createSim, type Sim } from '../sim/sim.ts'

/** The workflow of the demo, as it lies in the package. */
export const WORKFLOW = 'examples/text-to-image.json'

/** One step of the simulated sampler: slow enough to be seen, fast enough not to be waited for. */
const STEP_MS = 60

export interface SimChoices {
  readonly stepMs?: number | undefined
  /** The `static` folder of comfyui-frontend-package: ComfyUI's own page in place of the demo's. */
  readonly webRoot?: string | undefined
}

/** The simulated ComfyUI on a free loopback port: what `serve --demo` guards. Throws `usage` where `webRoot` holds no page. */
export async function startSim({ stepMs = STEP_MS, webRoot }: SimChoices = {}): Promise<Sim> {
  return await createSim({ stepMs, ...(webRoot !== undefined && { webRoot }) })
}

/** A simulated ComfyUI, the proxy before it, and one key, in a temporary folder of their own. */
export interface Demo {
  /** The proxy's. */
  readonly url: string
  readonly simUrl: string
  readonly key: string
  readonly keyFile: string
  readonly workflowFile: string
  /** How many requests have reached the simulated ComfyUI. */
  seen(): number
  /** Ends all of it, and removes the key and everything else that it kept. */
  close(): Promise<void>
}

/** `port` is the proxy's, on loopback; 0 takes a free one. The user's own keyring, profiles and databases are not touched. */
export async function startDemo({ port, ...choices }: SimChoices & { readonly port: number }): Promise<Demo> {
  const home = mkdtempSync(join(tmpdir(), 'comfy-auth-demo-')) // 0700
  const closers: (() => unknown)[] = [() => rmSync(home, { recursive: true, force: true })]
  const close = async (): Promise<void> => {
    for (const end of closers.splice(0).reverse()) await end()
  }
  try {
    const sim = await startSim(choices)
    closers.push(() => sim.close())
    const keyring = join(home, 'keyring.json')
    const keyFile = join(home, 'demo.key')
    const { key } = await createKey({ label: 'demo', role: 'admin', out: keyFile, keyring })
    const keys = await openLiveKeys({ keyring, keyFiles: [], bareKeys: [] })
    closers.push(() => keys.close())
    const proxy = await createProxy({
      upstream: sim.url,
      listen: '127.0.0.1',
      port,
      keys,
      serveDb: join(home, 'serve.db'),
      drainMs: 1_000,
    })
    closers.push(() => proxy.close())
    return {
      url: proxy.url,
      simUrl: sim.url,
      key,
      keyFile,
      workflowFile: packageFile(WORKFLOW),
      seen: () => sim.requests.length,
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

export interface Refusal {
  readonly status: number
  readonly body: string
  /** Requests that reached ComfyUI all the same. */
  readonly seen: number
}

const IDS = { promptId: '00000000-0000-4000-8000-000000000000', clientId: 'demo' }

function demoWorkflow(): Workflow {
  return readWorkflow(readPackageText(WORKFLOW), WORKFLOW)
}

/** Sends the workflow without the key, and says what came of it. Throws where the lock does not hold. */
export async function tryWithoutKey(demo: Demo): Promise<Refusal> {
  const client = createClient({ url: demo.url })
  try {
    const before = demo.seen()
    const headers = { 'content-type': 'application/json' }
    const answer = await client.request('POST', '/prompt', { body: promptBody(demoWorkflow(), IDS), headers })
    const refusal = { status: answer.status, body: await answer.body.text(), seen: demo.seen() - before }
    if (refusal.status === 401 && refusal.seen === 0) return refusal
    throw new ComfyAuthError('internal', `Without the key the answer was ${refusal.status}, not 401.`, {
      remedy: 'This is a fault of comfy-auth: report it.',
    })
  } finally {
    await client.close()
  }
}

export interface Picture {
  readonly promptId: string
  readonly paths: readonly string[]
}

/** Runs the workflow through the proxy with the key, and keeps its picture. */
export async function makePicture(
  demo: Demo,
  options: { readonly output: string; readonly signal: AbortSignal; readonly onEvent: (event: RunEvent) => void },
): Promise<Picture> {
  const { output: outputDir, signal, onEvent } = options
  const client = createClient({ url: demo.url, key: demo.key })
  try {
    const { promptId, outputs } = await runPrompt({ client, prompt: demoWorkflow(), outputDir, signal, onEvent })
    return { promptId, paths: outputs.flatMap(({ path }) => path ?? []) }
  } finally {
    await client.close()
  }
}
