import { readFileSync } from 'node:fs'
import { afterEach, describe, expect, test } from 'vitest'
import { createClient } from '../../src/comfy/client.ts'
import { runPrompt } from '../../src/comfy/run-prompt.ts'
import { readWorkflow, setInput } from '../../src/comfy/workflow.ts'
import { createSim, type Sim } from '../../src/sim/sim.ts'

const EMPTY_IMAGE = readFileSync(new URL('../../examples/empty-image.json', import.meta.url))

let sim: Sim | undefined

afterEach(() => sim?.close())

/** Runs the example under this prefix, and says how its picture is called on the server. */
async function run(prefix: string): Promise<{ filename: string; subfolder: string; type: string }> {
  const client = createClient({ url: sim!.url })
  const prompt = setInput(readWorkflow(EMPTY_IMAGE), `SaveImage.filename_prefix=${prefix}`)
  const { outputs } = await runPrompt({ client, prompt, pollMs: 20 }).finally(() => client.close())
  const { filename, subfolder, type } = outputs[0]!
  return { filename, subfolder, type }
}

describe('the name of a file, in the head of its download', () => {
  test('goes out in UTF-8, one character for each byte', async () => {
    sim = await createSim({ stepMs: 0 })
    const image = await run('日本é')
    const answer = await fetch(`${sim!.url}/view?${new URLSearchParams({ ...image })}`)
    const disposition = Buffer.from(answer.headers.get('content-disposition') ?? '', 'latin1').toString()
    expect([answer.status, disposition]).toEqual([200, 'filename="日本é_00001_.png"'])
  })

  test.each(['a\u001b', 'a\u0007', 'a\u007f'])(
    '%j in it cuts the connection, and the next request is answered',
    async (name) => {
      sim = await createSim({ stepMs: 0 })
      const image = await run(name)
      expect(image.filename).toBe(`${name}_00001_.png`)
      await expect(fetch(`${sim!.url}/view?${new URLSearchParams({ ...image })}`)).rejects.toThrow('fetch failed')
      expect((await fetch(`${sim!.url}/prompt`)).status).toBe(200)
    },
  )
})
