import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Linked, LinkedList } from '../../../src/proxy/wire/linked-list.ts'

interface Item extends Linked<Item> {
  readonly name: number
}

test('holds what a Set would, in the same order, whatever comes and goes', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(9)), (names) => {
      const items = Array.from({ length: 10 }, (_, name): Item => ({ name }))
      const list = new LinkedList<Item>()
      const set = new Set<Item>()
      for (const name of names) {
        const item = items[name]!
        if (set.delete(item)) {
          list.delete(item)
        } else {
          set.add(item)
          list.push(item)
        }
        expect([...list]).toEqual([...set])
        expect([list.size, list.first, list.last]).toEqual([set.size, [...set][0], [...set].at(-1)])
      }
    }),
  )
})

test('what is deleted names nobody any more, or the old would keep the young', () => {
  const list = new LinkedList<Item>()
  const items = [1, 2, 3].map((name): Item => ({ name }))
  for (const item of items) list.push(item)
  list.delete(items[1]!)
  expect(items[1]).toEqual({ name: 2, before: undefined, after: undefined })
})

test('a walk ends where the item that it stands at is deleted', () => {
  const list = new LinkedList<Item>()
  for (const name of [1, 2, 3]) list.push({ name })
  const seen: number[] = []
  for (const item of list) {
    seen.push(item.name)
    if (item.name === 2) list.delete(item)
  }
  expect(seen).toEqual([1, 2])
})
