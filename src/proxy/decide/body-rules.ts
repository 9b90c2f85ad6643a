import { decodeUtf8 } from './encoding.ts'
import type { Policy, Principal, Refusal } from './facts.ts'
import type { Head } from './head.ts'
import { refusal } from './refusal.ts'

/** Under 64 KiB. */
export const BODY_LIMIT_BYTES = 65_535

/** Routes by which a `user` stops its own prompts, named in the body. */
export type StopMark = 'stop-one' | 'stop-queued' | 'stop-many'

/** The one member that is read, checked and sent on; whatever else stood in the body stays behind. */
const MEMBER = { 'stop-one': 'prompt_id', 'stop-queued': 'delete', 'stop-many': 'job_ids' } as const

/** ComfyUI honours gzip, UTF-16 and UTF-7; a rule that reads another text than it does is none. */
export function checkBodyHeaders(head: Head): Refusal | undefined {
  const encoded = head.contentEncoding !== undefined && head.contentEncoding.trim().toLowerCase() !== 'identity'
  return encoded || !isPlainUtf8(head.contentType) ? refusal(400, 'bad-body') : undefined
}

/** No charset but UTF-8, in any spelling of a parameter; nothing that only some readers would take for one. */
function isPlainUtf8(contentType: string | undefined): boolean {
  if (contentType === undefined) return true
  const type = contentType.toLowerCase()
  if (!type.includes('charset')) return !type.includes('\u0000')
  return /^[a-z0-9!#$&^_.+/-]+ *; *charset=("?)utf-8\1$/.test(type)
}

/** The body as it goes up, or 400 for what is no plain JSON object, 403 for what is not the principal's own. */
export function checkBody(body: Uint8Array, mark: StopMark, principal: Principal, policy: Policy): string | Refusal {
  if (body.length > BODY_LIMIT_BYTES) return refusal(400, 'bad-body')
  // No body at all stops whatever runs, or clears nothing: not a user's to send
  if (body.length === 0) return adminOnly()
  const json = parseObject(body)
  if (!json) return refusal(400, 'bad-body')
  const member = MEMBER[mark]
  if (mark === 'stop-queued' && Object.hasOwn(json, 'clear')) return adminOnly()
  const value = json[member]
  const ids = mark === 'stop-one' ? [value] : value
  if (!Array.isArray(ids)) return adminOnly()
  for (const id of ids) {
    if (typeof id !== 'string' || id === '') return adminOnly()
    if (!owns(principal, id, policy)) return refusal(403, 'not-own-prompt')
  }
  return JSON.stringify({ [member]: value })
}

export function owns(principal: Principal, promptId: string, policy: Policy): boolean {
  return principal.keyId !== undefined && promptId !== '' && policy.ownsPrompt(principal.keyId, promptId)
}

function adminOnly(): Refusal {
  return { ...refusal(403, 'role'), roleNeeded: 'admin' }
}

/** Strict UTF-8 (no BOM), strict JSON (no NaN), an object, no key twice in any object of it. */
function parseObject(body: Uint8Array): Record<string, unknown> | undefined {
  const text = decodeUtf8(body)
  if (text === undefined) return undefined
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    return undefined
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json) || hasDoubledKey(text)) return undefined
  return json as Record<string, unknown>
}

/** Of valid JSON: ComfyUI takes the last of equal keys, others the first. Keys are compared unescaped. */
function hasDoubledKey(text: string): boolean {
  const open: Set<string>[] = []
  for (let i = 0; i < text.length; i++) {
    const char = text[i]
    if (char === '{' || char === '[') open.push(new Set())
    else if (char === '}' || char === ']') open.pop()
    else if (char === '"') {
      const end = endOfString(text, i)
      if (isColonNext(text, end)) {
        const key = JSON.parse(text.slice(i, end)) as string
        const keys = open[open.length - 1]!
        if (keys.has(key)) return true
        keys.add(key)
      }
      i = end - 1
    }
  }
  return false
}

/** The index after the closing quote. */
function endOfString(text: string, start: number): number {
  let i = start + 1
  while (text[i] !== '"') i += text[i] === '\\' ? 2 : 1
  return i + 1
}

function isColonNext(text: string, end: number): boolean {
  let i = end
  while (text[i] === ' ' || text[i] === '\n' || text[i] === '\r' || text[i] === '\t') i++
  return text[i] === ':'
}
