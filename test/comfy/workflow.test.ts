import { describe, expect, test } from 'vitest'
import { isNumber } from '../../src/comfy/json.ts'
import { describeNode, findNodes, readWorkflow, serialise, setInput, splitSetting } from '../../src/comfy/workflow.ts'

const TEXT =
  '{"3":{"class_type":"KSampler","inputs":{"seed":9007199254740993,"cfg":8.0,"sampler_name":"euler","model":["4",0],"tiled":false}},' +
  '"4":{"class_type":"CheckpointLoaderSimple","inputs":{"ckpt_name":"a.safetensors"}},' +
  '"6":{"class_type":"CLIPTextEncode","inputs":{"text":"a fox"},"_meta":{"title":"Positive. Prompt"}},' +
  '"7":{"class_type":"CLIPTextEncode","inputs":{"text":"","size.width":1},"_meta":{"title":"Negative"}}}'
const workflow = readWorkflow(TEXT)

/** The thrown error's message and remedy as one text. */
function words(run: () => unknown): string {
  try {
    run()
  } catch (error) {
    const { kind, message, remedy } = error as { kind: string; message: string; remedy: string }
    expect(kind).toBe('usage')
    return `${message} ${remedy}`
  }
  throw new Error('nothing was thrown')
}

test('what was read is written digit for digit', () => {
  expect(serialise(workflow)).toBe(TEXT)
})

describe('--set', () => {
  test.each([
    ['3.seed=18446744073709551615', '"seed":18446744073709551615'],
    ['3.cfg=7.50', '"cfg":7.50'],
    ['3.cfg=NaN', '"cfg":NaN'],
    ['KSampler.tiled=true', '"tiled":true'],
    ['ksampler.sampler_name=dpmpp_2m', '"sampler_name":"dpmpp_2m"'],
    ['3.sampler_name=12', '"sampler_name":"12"'],
    ['3.model=["9",1]', '"model":["9",1]'],
    ['Positive. Prompt.text=x=y.z', '"text":"x=y.z"'],
    ['Negative.size.width=2', '"size.width":2'],
    ['7.text=', '"text":""'],
    ['7.text= two  blanks ', '"text":" two  blanks "'],
  ])('%s', (setting, expected) => {
    expect(serialise(setInput(workflow, setting))).toContain(expected)
  })

  test('leaves the workflow it was given alone, and keeps what an earlier one set', () => {
    const both = setInput(setInput(workflow, '6.text=one'), '6.text=two')
    expect(serialise(setInput(both, '3.seed=1'))).toContain('"text":"two"')
    expect(serialise(workflow)).toBe(TEXT)
  })

  test('a wrong node gets the nearest names, and the word that was typed is not repeated', () => {
    const said = words(() => setInput(workflow, 'KSamplr.seed=1', '--set number 2'))
    expect(said).toBe(
      '--set number 2 names a node that is not in the workflow. Nearest: KSampler, CheckpointLoaderSimple, Positive. Prompt.',
    )
  })

  test('a wrong input gets the nearest inputs of that node', () => {
    expect(words(() => setInput(workflow, '3.sed=1'))).toBe(
      '--set: node 3 (KSampler) has no input of that name. Nearest: seed, tiled, model, sampler_name, cfg.',
    )
  })

  test('a class that two nodes have gets their ids', () => {
    expect(words(() => setInput(workflow, 'CLIPTextEncode.text=x'))).toBe(
      '--set names more than one node. Use an id: 6 "Positive. Prompt" (CLIPTextEncode), 7 "Negative" (CLIPTextEncode).',
    )
  })

  test.each([
    ['3.seed=many', 'is a number. Give digits; it is 9007199254740993 now.'],
    ['3.seed=0x10', 'is a number'],
    ['3.tiled=1', 'is true or false'],
    ['3.seed', 'has no "="'],
    ['seed=1', 'has no dot'],
  ])('%s is refused', (setting, expected) => {
    expect(words(() => setInput(workflow, setting))).toContain(expected)
  })

  test('no message repeats a value', () => {
    for (const setting of ['3.seed=s3cret', 's3cret.x=1', '3.s3cret=1', 's3cret', '3.tiled=s3cret']) {
      expect(words(() => setInput(workflow, setting))).not.toContain('s3cret')
    }
  })
})

test('--image: the right side is a path, taken as it is', () => {
  const { place, value } = splitSetting(workflow, '3.sampler_name=a=b/c.png', '--image')
  expect([place.node.id, place.input, value]).toEqual(['3', 'sampler_name', 'a=b/c.png'])
})

describe('a node is found', () => {
  test.each([
    ['6', ['6']],
    ['Negative', ['7']],
    ['negative', ['7']],
    ['CLIPTextEncode', ['6', '7']],
    ['x', []],
  ])('%s', (name, ids) => {
    expect(findNodes(workflow, name).map(({ id }) => id)).toEqual(ids)
  })

  test('an id comes before a title of the same text', () => {
    const odd = readWorkflow('{"1":{"class_type":"A"},"2":{"class_type":"B","_meta":{"title":"1"}}}')
    expect(findNodes(odd, '1').map(({ classType }) => classType)).toEqual(['A'])
  })
})

describe('what is no workflow is refused with a next step', () => {
  test.each([
    ['', 'the workflow is empty'],
    ['{"a": 1', 'is not JSON: the text ends too early at line 1, column 8'],
    ['[]', 'holds no nodes'],
    ['{}', 'without any node'],
    ['{"1": 5}', 'node 1 is not an object'],
    ['{"1": {"inputs": {}}}', 'node 1 has no class_type'],
    ['{"1": {"class_type": "A", "inputs": []}}', 'node 1: inputs is not an object'],
    ['{"nodes": [], "links": [], "version": 0.4}', 'UI format'],
  ])('%s', (text, expected) => {
    expect(words(() => readWorkflow(text))).toContain(expected)
  })

  test('a UI-format file is told how to become one', () => {
    expect(words(() => readWorkflow('{"nodes": [{"id": 1}], "links": []}'))).toContain('Workflow > Export (API)')
  })

  test('bytes that are neither', () => {
    expect(words(() => readWorkflow(Buffer.from([0xff, 0xfe, 0x7b, 0x00])))).toContain(
      'neither JSON in UTF-8 nor a PNG',
    )
  })
})

test('a byte order mark and a saved body of POST /prompt are understood', () => {
  const wrapped = readWorkflow(Buffer.from(`\ufeff{"prompt": ${TEXT}, "extra_data": {"a": 1.0}}`))
  expect(serialise(wrapped)).toBe(TEXT)
  const a = wrapped.extraData?.get('a')
  expect(isNumber(a) && a.source).toBe('1.0')
})

test('a title cannot drive the terminal', () => {
  const odd = readWorkflow('{"1":{"class_type":"A","_meta":{"title":"x\\u001b[2Jy"}}}')
  expect(describeNode(odd.nodes.get('1')!)).toBe('1 "x [2Jy" (A)')
})

test.each([
  ['{"1": {"class_type": "A", "inputs": {}}, "1": {"class_type": "B", "inputs": {}}}', 'at line 1, column 42'],
  ['{"1": {"class_type": "A", "inputs": {"x": 1,\n"x": 2}}}', 'at line 2, column 1'],
])('of two nodes or inputs of one name none is lost in silence: %s', (text, place) => {
  expect(words(() => readWorkflow(text))).toContain(`a name stands twice in one object ${place}`)
})
