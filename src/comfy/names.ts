/** Levenshtein distance, letter case aside. */
function distance(a: string, b: string): number {
  const [left, right] = [a.toLowerCase(), b.toLowerCase()]
  let row = Array.from({ length: right.length + 1 }, (_, index) => index)
  for (let i = 1; i <= left.length; i += 1) {
    const next = [i]
    for (let j = 1; j <= right.length; j += 1) {
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (left[i - 1] === right[j - 1] ? 0 : 1)))
    }
    row = next
  }
  return row[right.length]!
}

/** At most `count` of `names`, the likest to `wanted` first; those that share nothing with it only where nothing else is. */
export function nearest(wanted: string, names: Iterable<string>, count = 3): string[] {
  const short = wanted.slice(0, 100)
  return [...new Set(names)]
    .map((name) => {
      const holds = name.toLowerCase().includes(short.toLowerCase()) && short.length > 1
      return { name, far: holds ? 0 : distance(short, name.slice(0, 100)) / Math.max(short.length, name.length, 1) }
    })
    .sort((a, b) => a.far - b.far)
    .slice(0, count)
    .map(({ name }) => name)
}
