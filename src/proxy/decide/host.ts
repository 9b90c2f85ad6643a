import { isLoopback, parseIp } from './address.ts'
import type { Policy, Refusal } from './facts.ts'
import { DOUBLED, type Head } from './head.ts'
import { refusal } from './refusal.ts'

export interface Host {
  /** Lower-case, one trailing dot off; IPv6 without brackets. */
  readonly name: string
  /** As it stands in an origin: lower-case, IPv6 in brackets, with the port where one was given. */
  readonly text: string
}

const NAME = /^[a-z0-9._-]+$/
const PORT = /^[0-9]{1,5}$/
/** No name is longer (RFC 1035, 2.3.4). */
const MAX_NAME = 255

/** host[:port] (RFC 9110, 7.2), lower-cased, one trailing dot off; undefined for anything else, and for a name too long. */
export function parseHost(value: string): Host | undefined {
  if (value.length > MAX_NAME + ':65535'.length) return undefined
  const text = value.toLowerCase()
  let name: string
  let rest: string
  if (text.startsWith('[')) {
    const end = text.indexOf(']')
    if (end === -1) return undefined
    name = text.slice(1, end)
    rest = text.slice(end + 1)
    if (!name.includes(':') || name.includes('%') || !parseIp(name)) return undefined
  } else {
    const colon = text.indexOf(':')
    name = colon === -1 ? text : text.slice(0, colon)
    rest = colon === -1 ? '' : text.slice(colon)
    if (name.endsWith('.')) name = name.slice(0, -1)
    if (name.length > MAX_NAME || !NAME.test(name) || name.startsWith('.') || name.endsWith('.') || name.includes('..'))
      return undefined
  }
  if (rest !== '' && (!rest.startsWith(':') || !PORT.test(rest.slice(1)) || Number(rest.slice(1)) > 65_535)) {
    return undefined
  }
  return { name, text: (name.includes(':') ? `[${name}]` : name) + rest }
}

function isLoopbackName(name: string): boolean {
  if (name === 'localhost' || name.endsWith('.localhost')) return true
  const address = parseIp(name)
  // An IPv4-mapped literal is no name a browser shows for loopback
  return address !== undefined && isLoopback(address) && name.includes(':') === (address.length === 16)
}

function isAllowed(name: string, { hosts: { allowed }, publicUrl }: HostRule): boolean {
  if (allowed.has(name) || (name.includes(':') && allowed.has(`[${name}]`))) return true
  const own = publicUrl?.hostname
  return own !== undefined && (own === name || own === `[${name}]`)
}

type HostRule = Pick<Policy, 'hosts' | 'publicUrl'>

/** Whether we go by this name, as `parseHost` gives it. */
export function isOurName(name: string, rule: HostRule): boolean {
  const { kind } = rule.hosts
  return (
    kind === 'any' ||
    isAllowed(name, rule) ||
    (kind === 'loopback' && isLoopbackName(name)) ||
    (kind === 'ip' && (parseIp(name) !== undefined || isLoopbackName(name)))
  )
}

/** Rule 2: exactly one Host, well formed (400), and one that we answer to: DNS rebinding brings its own name (421). */
export function checkHost(head: Head, policy: Policy): Refusal | undefined {
  const host = head.host === undefined || head.host === DOUBLED ? undefined : parseHost(head.host)
  if (!host) return refusal(400, 'bad-host')
  return isOurName(host.name, policy) ? undefined : refusal(421, 'unknown-host')
}
