import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeEach, describe, expect, test } from 'vitest'
import { resolveServer } from '../../src/profiles/credential.ts'
import { keyFromCommand, keyFromFile, keyIn } from '../../src/profiles/key-source.ts'
import { openProfiles, type ProfileStore } from '../../src/profiles/profiles.ts'
import { temporaryFolder } from '../support/cli.ts'

let root: string
let store: ProfileStore

beforeEach(() => {
  root = temporaryFolder()
  store = openProfiles(join(root, 'profiles.json'))
})

const savedAt = ''

/** A current profile, another one, and the environment's key. */
async function furnish(): Promise<void> {
  await store.save('studio', { url: 'https://studio.example', key: 'studio key', savedAt })
  await store.save('home', { url: 'http://home.example:8189', key: 'home key', savedAt })
}

const env = { COMFYUI_API_KEY: 'environment key' }

describe('which URL, with which key', () => {
  test('a URL from the flag goes with the environment key', async () => {
    await furnish()
    expect(await resolveServer({ url: 'http://flag.example' }, env, store)).toEqual({
      url: 'http://flag.example',
      key: 'environment key',
      from: { url: { kind: 'flag', name: '--url' }, key: { kind: 'environment', name: 'COMFYUI_API_KEY' } },
    })
  })

  test('a URL from the environment goes with it too, and is told as such', async () => {
    await furnish()
    const resolved = await resolveServer(
      { url: 'http://env.example' },
      { ...env, COMFY_AUTH_URL: 'http://env.example' },
      store,
    )
    expect(resolved).toMatchObject({
      key: 'environment key',
      from: { url: { kind: 'environment', name: 'COMFY_AUTH_URL' } },
    })
  })

  test("a profile brings its own key: the environment's does not go to its server", async () => {
    await furnish()
    expect(await resolveServer({ profile: 'studio' }, env, store)).toMatchObject({
      url: 'https://studio.example',
      key: 'studio key',
      profile: 'studio',
    })
    expect(await resolveServer({}, env, store)).toMatchObject({
      url: 'http://home.example:8189',
      key: 'home key',
      profile: 'home',
    })
  })

  test('a profile without a key gets none from the environment', async () => {
    await store.save('open', { url: 'http://open.example', savedAt })
    const resolved = await resolveServer({ profile: 'open' }, env, store)
    expect(resolved).not.toHaveProperty('key')
    expect(resolved.from.key.kind).toBe('none')
  })

  test('with nothing named it is the default server, with the environment key', async () => {
    expect(await resolveServer({}, env, store)).toMatchObject({
      url: 'http://127.0.0.1:8189',
      key: 'environment key',
      from: { url: { kind: 'default' } },
    })
  })

  test("a URL without a key of its own gets that of a profile for the very same server, and no other's", async () => {
    await furnish()
    expect(await resolveServer({ url: 'https://STUDIO.example/' }, {}, store)).toMatchObject({
      key: 'studio key',
      profile: 'studio',
    })
    for (const url of [
      'http://studio.example',
      'https://studio.example:8443',
      'https://studio.example/other',
      'https://studio.example.evil',
    ]) {
      expect(await resolveServer({ url }, {}, store)).not.toHaveProperty('key')
    }
  })

  test('--profile wins over COMFY_AUTH_URL, and --url over COMFY_AUTH_PROFILE', async () => {
    await furnish()
    const url = 'http://env.example'
    expect(await resolveServer({ profile: 'studio', url }, { COMFY_AUTH_URL: url }, store)).toMatchObject({
      url: 'https://studio.example',
    })
    expect(await resolveServer({ profile: 'studio', url }, { COMFY_AUTH_PROFILE: 'studio' }, store)).toMatchObject({
      url,
    })
  })

  test('both as flags is a question back', async () => {
    await furnish()
    await expect(resolveServer({ profile: 'studio', url: 'http://x' }, {}, store)).rejects.toMatchObject({
      kind: 'usage',
      message: '--url and --profile both name a server.',
    })
  })

  test('an unknown profile is answered with those there are', async () => {
    await furnish()
    await expect(resolveServer({ profile: 's3cret' }, {}, store)).rejects.toMatchObject({
      kind: 'usage',
      message: 'There is no profile of that name.',
      remedy: 'There are: studio, home.',
    })
  })
})

describe('where the key is read from', () => {
  test('--key-file wins over the environment, with a URL and with a profile', async () => {
    await furnish()
    const file = join(root, 'key')
    await writeFile(file, '# a comment\n\n  file key  \r\nanother\n')
    for (const flags of [{ url: 'http://x' }, { profile: 'studio' }]) {
      expect(await resolveServer({ ...flags, 'key-file': file }, env, store)).toMatchObject({
        key: 'file key',
        from: { key: { name: '--key-file' } },
      })
    }
  })

  test('COMFYUI_API_KEY, then COMFYUI_API_KEY_FILE, then the systemd credential; empty counts as absent', async () => {
    const file = join(root, 'key')
    await writeFile(file, 'file key\n')
    await mkdir(join(root, 'credentials'))
    await writeFile(join(root, 'credentials', 'api_key'), 'credential key')
    const all = {
      COMFYUI_API_KEY: 'variable key',
      COMFYUI_API_KEY_FILE: file,
      CREDENTIALS_DIRECTORY: join(root, 'credentials'),
    }
    const keyOf = async (more: Record<string, string>): Promise<string | undefined> =>
      (await resolveServer({}, { ...all, ...more }, store)).key
    expect(await keyOf({})).toBe('variable key')
    expect(await keyOf({ COMFYUI_API_KEY: '' })).toBe('file key')
    expect(await keyOf({ COMFYUI_API_KEY: '', COMFYUI_API_KEY_FILE: '' })).toBe('credential key')
  })

  test("a profile's command is run at each use", async () => {
    await store.save('manager', { url: 'http://x', keyCommand: "printf 'command key\\nmore'", savedAt })
    expect(await resolveServer({}, env, store)).toMatchObject({
      key: 'command key',
      from: { key: { kind: 'profile', name: 'manager, its key command' } },
    })
  })

  test.each([
    ['exit 3', 'ended with code 3'],
    ['true', 'holds no key'],
    ['sleep 5', 'did not end in time'],
    ["trap '' TERM; sleep 5; :", 'did not end in time'],
  ])('a command that does %s is said', async (command, expected) => {
    await expect(keyFromCommand(command, 200)).rejects.toMatchObject({
      kind: 'usage',
      message: expect.stringContaining(expected),
    })
  })

  test('a command that prints without end is ended at once', async () => {
    await expect(keyFromCommand('yes', 20_000)).rejects.toThrow('The key command prints more than a key.')
  })

  test('what is no key is refused, and not repeated', () => {
    for (const content of ['s3cret\u0000x', 's3crét', `s3cret${'x'.repeat(5000)}`, '# s3cret only']) {
      expect(() => keyIn(content, 'stdin')).toThrow(
        expect.objectContaining({ kind: 'usage', message: expect.not.stringContaining('s3cr') }),
      )
    }
    expect(() => keyFromFile(join(root, 'none'))).toThrow('The key file does not exist.')
    expect(() => keyFromFile(root)).toThrow('is a folder')
  })
})
