/** What may stand in one list at a time. */
export interface Linked<T> {
  before?: T | undefined
  after?: T | undefined
}

/**
 * In the order of insertion, as a Set, and as cheap. But a Set of what comes and goes leaves its former tables behind, each of
 * which names the next; once one of them is old, V8's scavenger takes all the others for alive, with whoever stood in them: at
 * 10,000 requests a second it stopped the process for 25 ms at a time instead of 1.5.
 */
export class LinkedList<T extends Linked<T>> implements Iterable<T> {
  #first: T | undefined
  #last: T | undefined
  #size = 0

  get first(): T | undefined {
    return this.#first
  }

  get last(): T | undefined {
    return this.#last
  }

  get size(): number {
    return this.#size
  }

  /** `item` stands in no list. */
  push(item: T): void {
    item.before = this.#last
    if (this.#last) this.#last.after = item
    else this.#first = item
    this.#last = item
    this.#size++
  }

  /** `item` stands in this list. */
  delete(item: T): void {
    const { before, after } = item
    if (before) before.after = after
    else this.#first = after
    if (after) after.before = before
    else this.#last = before
    item.before = item.after = undefined
    this.#size--
  }

  /** Ends early where the item that it stands at is deleted. */
  *[Symbol.iterator](): Generator<T, void, undefined> {
    for (let item = this.#first; item; item = item.after) yield item
  }
}
