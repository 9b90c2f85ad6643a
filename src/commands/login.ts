import { Command } from '../cli/command.ts'
import { Args, Flags } from '../cli/flags.ts'
import { readStdin } from '../cli/stdin.ts'
import { checkServer, isOpen } from '../comfy/check-server.ts'
import { createClient } from '../comfy/client.ts'
import { DEFAULT_SERVER_URL, parseServerUrl } from '../comfy/server-url.ts'
import { ComfyAuthError } from '../errors.ts'
import { keyFault } from '../keys/key-file.ts'
import { keyFromCommand, keyFromEnvironment, keyFromFile, keyIn } from '../profiles/key-source.ts'
import { checkProfileName, isExposed, openProfiles, type ProfileStore } from '../profiles/profiles.ts'

interface LoginResult {
  readonly profile: string
  readonly url: string
  /** What was stored: the key, the command that prints it, or nothing where the server needs none. */
  readonly stored: 'key' | 'key-command' | 'nothing'
  readonly lock: 'comfy-auth' | 'other' | 'none'
  readonly comfyui: 'up' | 'down'
  readonly comfyui_version: string | null
}

type Credential = { readonly key?: string; readonly keyCommand?: string }

async function ask(type: 'input' | 'password', message: string, fallback?: string): Promise<string> {
  const { default: inquirer } = await import('inquirer')
  const prompt = inquirer.createPromptModule({ output: process.stderr })
  try {
    const question =
      type === 'password'
        ? { type, name: 'value', message, mask: '*' }
        : { type, name: 'value', message, default: fallback }
    const { value } = await prompt<{ value: string }>([question] as Parameters<typeof prompt<{ value: string }>>[0])
    return value
  } catch {
    throw new ComfyAuthError('interrupted', 'Interrupted; nothing is stored.', {
      remedy: 'Run it again when you like.',
    })
  }
}

function nothingToAsk(what: string, remedy: string): ComfyAuthError {
  return new ComfyAuthError('usage', `${what}, and there is no terminal to ask on.`, { remedy })
}

/** checkServer's error; a key that is not taken is said as this command means it. */
function rejected(error: unknown, url: string): unknown {
  if (!(error instanceof ComfyAuthError) || error.kind !== 'unauthorised') return error
  return new ComfyAuthError(
    'unauthorised',
    `${url} does not accept this key: wrong, revoked or expired. Nothing is stored.`,
    {
      remedy: "Ask the server's owner for one (comfy-auth keygen), and look whether this is the right server.",
      cause: error,
    },
  )
}

/** Names what `name` holds now, where it would be lost. */
function checkReplaced(store: ProfileStore, name: string, url: string, isNamed: boolean): void {
  const present = store.get(name)
  if (isNamed || !present || present.url === url) return
  throw new ComfyAuthError('usage', `Profile ${name} is for another server (${present.url}).`, {
    remedy: `Add --profile NAME to keep both, or --profile ${name} to replace it.`,
  })
}

export default class Login extends Command {
  static override summary = 'Store a server and its key, so that the other commands can use them.'
  static override description =
    `The key is checked against the server first. It is kept in profiles.json, mode 0600, in a folder only you can read;
with --key-command the command is kept in its place and run each time. What is missing is asked for on a terminal.`
  static override examples = [
    { description: 'Asked for the key on the terminal:', command: '<%= config.bin %> login http://127.0.0.1:8189' },
    {
      description: 'The key from a file:',
      command: '<%= config.bin %> login https://gpu.example.com --profile studio --key-file studio.key',
    },
    {
      description: 'The key from a pipe:',
      command: 'cat studio.key | <%= config.bin %> login https://gpu.example.com --key-stdin',
    },
    {
      description: 'The key stays in a password manager:',
      command: '<%= config.bin %> login https://gpu.example.com --key-command "pass show comfyui"',
    },
  ]
  static override args = {
    url: Args.string({ description: `the server, such as ${DEFAULT_SERVER_URL} or https://gpu.example.com/comfy` }),
  }
  static override flags = {
    profile: Flags.string({ helpValue: 'NAME', description: 'the name it is stored under [default: default]' }),
    'key-file': Flags.string({
      helpValue: 'FILE',
      exclusive: ['key-stdin', 'key-command'],
      description: 'read the key from FILE',
    }),
    'key-stdin': Flags.boolean({ exclusive: ['key-file', 'key-command'], description: 'read the key from stdin' }),
    'key-command': Flags.string({
      helpValue: 'CMD',
      exclusive: ['key-file', 'key-stdin'],
      description: 'run CMD for the key, now and at each use',
    }),
  }

  async run(): Promise<LoginResult> {
    const { args, flags } = await this.parse(Login)
    const store = openProfiles()
    const name = flags.profile ?? 'default'
    checkProfileName(name)
    const known = flags.profile === undefined ? undefined : store.get(name)?.url
    const url = parseServerUrl(args.url ?? process.env.COMFY_AUTH_URL ?? known ?? (await this.#askUrl()))
    checkReplaced(store, name, url, flags.profile !== undefined)

    const credential = await this.#credential(flags, url)
    const key = credential.keyCommand === undefined ? credential.key : await keyFromCommand(credential.keyCommand)
    const fault = key === undefined ? undefined : keyFault(key)
    if (fault)
      throw new ComfyAuthError('usage', `The key ${fault}.`, { remedy: 'Copy it again, whole. Nothing is stored.' })
    const client = createClient({ url, key })
    const check = await checkServer(client)
      .catch((error: unknown) => {
        throw rejected(error, url)
      })
      .finally(() => client.close())
    await store.save(name, { url, ...credential, savedAt: new Date().toISOString() })
    if (isExposed(store.path)) this.caution(`Others can read profiles.json: chmod 600 '${store.path}'`)

    if (check.lock === 'none' && key !== undefined)
      this.caution('This server lets anybody in; the key is stored all the same.')
    if (!check.ours)
      this.note('This server has no /health of comfy-auth: it is a ComfyUI without our lock, or behind another.')
    if (check.comfyui === 'down') this.note('The lock answers; the ComfyUI behind it is down now.')
    this.log(`Logged in to ${url} as profile ${name}${check.version ? ` (ComfyUI ${check.version})` : ''}.`)
    return {
      ...{
        profile: name,
        url,
        stored: credential.keyCommand !== undefined ? 'key-command' : key !== undefined ? 'key' : 'nothing',
      },
      ...{ lock: check.lock, comfyui: check.comfyui, comfyui_version: check.version ?? null },
    }
  }

  async #askUrl(): Promise<string> {
    if (!process.stdin.isTTY)
      throw nothingToAsk('No server is named', `Give it as comfy-auth login URL, such as ${DEFAULT_SERVER_URL}.`)
    return await ask('input', 'Address of the server:', DEFAULT_SERVER_URL)
  }

  /** From a flag, else the environment, else asked for; none where the server lets anybody in. */
  async #credential(
    flags: { 'key-file'?: string | undefined; 'key-stdin'?: boolean; 'key-command'?: string | undefined },
    url: string,
  ): Promise<Credential> {
    if (flags['key-command'] !== undefined) return { keyCommand: flags['key-command'] }
    if (flags['key-file'] !== undefined) return { key: keyFromFile(flags['key-file']) }
    if (flags['key-stdin']) return { key: keyIn(await readStdin('Pipe the key in, or give --key-file FILE.'), 'stdin') }
    const fromEnvironment = keyFromEnvironment(process.env)
    if (fromEnvironment) {
      this.note(`The key comes from ${fromEnvironment.name}.`)
      return { key: fromEnvironment.key }
    }
    const client = createClient({ url })
    if (await isOpen(client).finally(() => client.close())) return {}
    if (!process.stdin.isTTY)
      throw nothingToAsk(
        'No key is given',
        'Give --key-file FILE, --key-stdin or --key-command CMD, or set COMFYUI_API_KEY.',
      )
    return { key: keyIn(await ask('password', `Key for ${url}:`), 'What you typed') }
  }
}
