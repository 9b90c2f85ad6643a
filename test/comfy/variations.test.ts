import { expect, test } from 'vitest'
import { variations } from '../../src/comfy/variations.ts'
import { readWorkflow, serialise } from '../../src/comfy/workflow.ts'

const workflow = readWorkflow(
  '{"1":{"class_type":"KSampler","inputs":{"seed":5,"steps":20}},"2":{"class_type":"RandomNoise","inputs":{"noise_seed":9007199254740993}},"3":{"class_type":"K","inputs":{"seed":["1",0]}}}',
)
const bare = readWorkflow('{"1":{"class_type":"EmptyImage","inputs":{"width":64}}}')

function seeds(varied: { workflow: typeof workflow }[]): string[] {
  return varied.map((each) =>
    [...serialise(each.workflow).matchAll(/seed":([^,}]+)/g)].map((match) => match[1]).join(' '),
  )
}

test('without a seed one prompt is the file as it stands', () => {
  expect(variations(workflow, {})).toEqual([{ workflow, seed: undefined }])
})

test('a seed goes into every seed that is a number, links stay', () => {
  expect(seeds(variations(workflow, { seed: '18446744073709551615' }))).toEqual([
    '18446744073709551615 18446744073709551615 ["1"',
  ])
})

test('it rises by one from prompt to prompt, and begins anew behind the last', () => {
  expect(seeds(variations(workflow, { seed: '18446744073709551614', count: 3 }))).toEqual([
    '18446744073709551614 18446744073709551614 ["1"',
    '18446744073709551615 18446744073709551615 ["1"',
    '0 0 ["1"',
  ])
})

test("without one, several count on from each node's own", () => {
  expect(seeds(variations(workflow, { count: 2 }))).toEqual(['5 9007199254740993 ["1"', '6 9007199254740994 ["1"'])
})

test('random draws one for each prompt, the same for all nodes of it', () => {
  const draws = [7, 14]
  const varied = variations(workflow, { seed: 'random', count: 2, random: () => draws.shift()! })
  expect(seeds(varied)).toEqual(['7 7 ["1"', '14 14 ["1"'])
  expect(varied.map(({ seed }) => seed)).toEqual(['7', '14'])
})

test.each(['-1', '1.5', '18446744073709551616', 'x', '', '1e3'])('%j is no seed', (seed) => {
  expect(() => variations(workflow, { seed })).toThrow('A seed is a whole number')
})

test('a workflow without a seed input says so', () => {
  expect(() => variations(bare, { seed: '1' })).toThrow('No node of the workflow has a seed')
  expect(variations(bare, { count: 2 })).toHaveLength(2)
})
