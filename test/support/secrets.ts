/** The forms in which a secret could stand in a text: raw, percent-encoded, hex, base64 at any offset and base64url. */
export function formsOf(secret: string): string[] {
  const base64 = [0, 1, 2].map((offset) => {
    const text = Buffer.concat([Buffer.alloc(offset), Buffer.from(secret)]).toString('base64')
    return text.slice(offset === 0 ? 0 : 4).replace(/.{0,3}=*$/, '')
  })
  const url = base64.map((text) => text.replaceAll('+', '-').replaceAll('/', '_'))
  const encoded = [encodeURIComponent(secret), encodeURIComponent(secret).toLowerCase(), secret.replaceAll(' ', '+')]
  return [...new Set([secret, ...encoded, ...base64, ...url, Buffer.from(secret).toString('hex')])]
}

/** Where which secret stands, with what is around it. */
export function leaks(texts: Readonly<Record<string, string>>, secrets: Readonly<Record<string, string>>): string[] {
  const forms = Object.entries(secrets).map(([name, secret]) => [name, formsOf(secret)] as const)
  return Object.entries(texts).flatMap(([place, text]) =>
    forms.flatMap(([name, candidates]) => {
      const form = candidates.find((candidate) => text.includes(candidate))
      return form === undefined ? [] : [`${name} in ${place}: ${around(text, text.indexOf(form), form.length)}`]
    }),
  )
}

function around(text: string, at: number, length: number): string {
  return text.slice(Math.max(0, at - 80), at + length + 20)
}

/** A key, session or storage token of ours, by its look: whoever made it. */
const OURS = /comfy[st]?_[0-9A-Za-z]{40,}/

/** What was said in one place, so far. */
export interface Heard {
  text: string
}

interface Place extends Heard {
  readonly name: string
  readonly mayHoldKeys: boolean
  /** What stands there now, where it does not come by itself. */
  readonly read: (() => string) | undefined
  seen: string
}

const places: Place[] = []
const freeForm = new Map<string, readonly string[]>() // a secret without a look of its own, and its forms

/** A place to be looked through by `overheard`. */
export function listen(
  name: string,
  { mayHoldKeys = false, read }: { readonly mayHoldKeys?: boolean; readonly read?: () => string } = {},
): Heard {
  const place: Place = { name, mayHoldKeys, read, text: '', seen: '' }
  places.push(place)
  return place
}

/** A key as people make them. One of a few letters could stand anywhere by chance, and is left out. */
export function knowSecret(secret: string): void {
  if (secret.length >= 8 && !OURS.test(secret)) freeForm.set(secret, formsOf(secret))
}

/** Where secrets have been heard since the last time. Keys of ours pass where `mayHoldKeys`: the stdout of keygen. */
export function overheard(): string[] {
  const found: string[] = []
  for (const place of places) {
    const { name, read, mayHoldKeys, seen } = place
    const text = read?.() ?? place.text
    if (text === seen) continue
    place.seen = text
    const ours = mayHoldKeys ? null : OURS.exec(text)
    if (ours) found.push(`a secret of ours in ${name}: ${around(text, ours.index, ours[0].length)}`)
    for (const forms of freeForm.values()) {
      const form = forms.find((candidate) => text.includes(candidate))
      if (form !== undefined) found.push(`a key in ${name}: ${around(text, text.indexOf(form), form.length)}`)
    }
  }
  return found
}
