import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { isAbsolute, join, normalize, win32 } from 'node:path'
import fc from 'fast-check'
import { beforeEach, describe, expect, test } from 'vitest'
import { type ComfyClient, createClient } from '../../src/comfy/client.ts'
import { localPath } from '../../src/comfy/file-names.ts'
import { outputFiles, outputTexts, prepareOutputDir, saveOutput, saveSocketImage } from '../../src/comfy/outputs.ts'
import { temporaryFolder } from '../support/cli.ts'
import { closing } from '../support/closers.ts'
import { type Fake, type Route, startFake } from './fake.ts'

let root: string
let dir: string
let fake: Fake
let client: ComfyClient

beforeEach(async () => {
  root = temporaryFolder()
  dir = join(root, 'out')
  await mkdir(dir)
})

async function serve(view: Route): Promise<void> {
  fake = closing(await startFake({ 'GET /view': view }))
  client = closing(createClient({ url: fake.url }))
}

const file = { node: '1', filename: 'a.png', subfolder: '', type: 'output' }

function save(more: Partial<typeof file> = {}): Promise<string> {
  return saveOutput({ ...file, ...more }, { client, dir, retryMs: 1 })
}

test('a file is asked for as the server named it, and kept whole under its name', async () => {
  await serve(() => 'PICTURE')
  expect(await save({ filename: 'a b&c.png', subfolder: 'x/y' })).toBe(join(dir, 'x/y/a b&c.png'))
  expect(fake.requests).toEqual(['GET /view?filename=a+b%26c.png&subfolder=x%2Fy&type=output'])
  expect(await readdir(join(dir, 'x/y'))).toEqual(['a b&c.png'])
})

describe('what stands there is never written over', () => {
  test('another file of the name stays, the new one gets a number', async () => {
    await serve(() => 'NEW')
    await writeFile(join(dir, 'a.png'), 'OLD')
    await writeFile(join(dir, 'a-1.png'), 'OLD')
    expect(await save()).toBe(join(dir, 'a-2.png'))
    expect([await readFile(join(dir, 'a.png'), 'utf8'), await readFile(join(dir, 'a-2.png'), 'utf8')]).toEqual([
      'OLD',
      'NEW',
    ])
  })

  test('the same picture again stays alone', async () => {
    await serve(() => 'SAME')
    expect([await save(), await save()]).toEqual([join(dir, 'a.png'), join(dir, 'a.png')])
    expect(await readdir(dir)).toEqual(['a.png'])
  })

  test('ten at once get ten names', async () => {
    let count = 0
    await serve(() => `PICTURE ${++count}`)
    const paths = await Promise.all(Array.from({ length: 10 }, () => save()))
    expect(new Set(paths).size).toBe(10)
    const contents = await Promise.all(paths.map((path) => readFile(path, 'utf8')))
    expect(new Set(contents).size).toBe(10)
  })

  test('a link of the name is not written through', async () => {
    await serve(() => 'NEW')
    await writeFile(join(root, 'target'), 'OLD')
    await symlink(join(root, 'target'), join(dir, 'a.png'))
    expect(await save()).toBe(join(dir, 'a-1.png'))
    expect(await readFile(join(root, 'target'), 'utf8')).toBe('OLD')
  })
})

describe('a hostile server writes nowhere else', () => {
  const names = [
    '../evil',
    '..\\evil',
    '/etc/evil',
    'C:\\evil',
    '....//evil',
    'a/../../evil',
    '\\\\host\\share\\evil',
    '..',
    '.',
    '',
    'x\0y',
    'a:stream',
  ]
  test.each(names)('%j as filename, and as subfolder', async (name) => {
    await serve(() => 'EVIL')
    const before = await readdir(root)
    for (const path of [await save({ filename: name }), await save({ subfolder: `x/${name}` })]) {
      expect(path.startsWith(`${dir}/`)).toBe(true)
    }
    expect(await readdir(root)).toEqual(before)
  })

  test('whatever it says, the path stays below the folder on every platform', () => {
    const nasty = fc.string({
      unit: fc.constantFrom('.', '/', '\\', ':', 'a', ' ', '\0', 'CON', '~', '%', '\u202e', 'é', '🦊'),
    })
    fc.assert(
      fc.property(nasty, nasty, (filename, subfolder) => {
        const path = localPath({ filename, subfolder })
        for (const kind of [{ isAbsolute, normalize }, win32]) {
          expect(kind.isAbsolute(path)).toBe(false)
          expect(kind.normalize(path).split(/[\\/]/)).not.toContain('..')
        }
        expect(path).not.toMatch(/[\0:]/)
        for (const segment of path.split('/')) {
          expect(segment).not.toMatch(/^(con|prn|aux|nul|com\d|lpt\d)(\.|$)|[. ]$|^$/i)
          expect(Buffer.byteLength(segment)).toBeLessThanOrEqual(201)
        }
      }),
      { numRuns: 2_000 },
    )
  })

  test('a folder in the output folder that is a link leading out is not followed', async () => {
    await serve(() => 'EVIL')
    await symlink(root, join(dir, 'sub'))
    await expect(save({ subfolder: 'sub' })).rejects.toMatchObject({
      kind: 'usage',
      message: expect.stringContaining('link that leads out'),
    })
    expect(await readdir(root)).toEqual(['out'])
  })

  test('a very long name keeps its extension', async () => {
    await serve(() => 'X')
    expect(await save({ filename: `${'é'.repeat(500)}.png` })).toMatch(/é{50,}\.png$/)
  })
})

describe('a download that is cut', () => {
  const content = 'The whole picture, byte for byte.'

  function cutAt(bytes: number, headers: Record<string, string>): Route {
    return (request, _body, response) => {
      const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0)
      const partial = request.headers.range !== undefined && request.headers['if-range'] === headers.etag
      const rest = content.slice(partial ? from : 0)
      const range = partial ? { 'content-range': `bytes ${from}-${content.length - 1}/${content.length}` } : {}
      response.writeHead(partial ? 206 : 200, { ...headers, ...range, 'content-length': String(rest.length) })
      response.write(rest.slice(0, bytes))
      if (rest.length > bytes)
        setTimeout(() => response.destroy(), 30) // what is cut at once is lost on the way
      else response.end()
      return undefined
    }
  }

  test('goes on where it was', async () => {
    await serve(cutAt(10, { etag: '"1"' }))
    expect(await readFile(await save(), 'utf8')).toBe(content)
    expect(fake.heads.map(({ headers }) => headers.range)).toEqual([undefined, 'bytes=10-', 'bytes=20-', 'bytes=30-'])
  })

  test('begins anew where the server has another file by now', async () => {
    const routes = [cutAt(10, { etag: '"1"' }), cutAt(100, { etag: '"2"' })]
    await serve((...exchange) => routes.shift()!(...exchange))
    expect(await readFile(await save(), 'utf8')).toBe(content)
    expect(fake.requests).toHaveLength(2)
  })

  test('that never gets through leaves nothing behind', async () => {
    await serve((_request, _body, response) => {
      response.writeHead(200, { 'content-length': '10' }).write('x', () => response.destroy())
      return undefined
    })
    await expect(save()).rejects.toMatchObject({ kind: 'unreachable' })
    expect(await readdir(dir)).toEqual([])
    expect(fake.requests).toHaveLength(6)
  })
})

test('a file that is gone on the server is an error at once, and leaves nothing behind', async () => {
  await serve((_request, _body, response) => void response.writeHead(500).end())
  await expect(save()).rejects.toMatchObject({ kind: 'failed' })
  expect([fake.requests.length, await readdir(dir)]).toEqual([1, []])
})

test('an output folder is made, and one that cannot be is said', async () => {
  await prepareOutputDir(join(dir, 'a/b'))
  await writeFile(join(dir, 'file'), '')
  for (const bad of [join(dir, 'file'), join(dir, 'file', 'x')]) {
    await expect(prepareOutputDir(bad)).rejects.toMatchObject({
      kind: 'usage',
      message: expect.stringContaining('a file stands in its place'),
    })
  }
})

test.each([
  ['', 'has an empty name'],
  ['/proc/none/x', 'no folder can be made there'],
  ['/dev/null', 'a file stands in its place'],
])('%j is no output folder, and nothing is said of pictures', async (bad, words) => {
  const error: unknown = await prepareOutputDir(bad).catch((thrown: unknown) => thrown)
  expect(error).toMatchObject({
    kind: 'usage',
    message: expect.stringContaining(words),
    remedy: expect.not.stringContaining('pictures'),
  })
})

describe('which files count', () => {
  const image = (filename: string, type: string) => ({ filename, subfolder: '', type })

  test('saved ones, whatever the list is called; previews beside them do not', () => {
    const outputs = new Map<string, Record<string, unknown>>([
      ['1', { images: [image('a.png', 'output'), image('t.png', 'temp')], animated: [true] }],
      ['2', { gifs: [{ ...image('v.mp4', 'output'), format: 'video/mp4' }], audio: [image('a.flac', 'output')] }],
      ['3', { text: ['x', 5], images: 'none', other: [null, { filename: 3 }] }],
      ['4', { images: [image('a.png', 'output')] }],
    ])
    expect(outputFiles(outputs).map(({ filename }) => filename)).toEqual(['a.png', 'v.mp4', 'a.flac'])
    expect(outputTexts(outputs)).toEqual([{ node: '3', text: 'x' }])
  })

  test('previews where nothing was saved', () => {
    expect(outputFiles(new Map([['1', { images: [image('t.png', 'temp'), image('i.png', 'input')] }]]))).toMatchObject([
      { filename: 't.png' },
    ])
  })
})

test('a picture from the socket gets a name of its own', async () => {
  const picture = { mime: 'image/jpeg', image: Buffer.from('J') }
  expect(await saveSocketImage('5:3/..', picture, dir)).toBe(join(dir, '.._00001.jpg'))
})
