import { ComfyAuthError } from '../../errors.ts'

/** IPv4 as four bytes, IPv6 as sixteen; IPv4-mapped IPv6 is IPv4 (rule 3). */
export type IpAddress = readonly number[]

function parseIpv4(text: string): number[] | undefined {
  const parts = text.split('.')
  if (parts.length !== 4) return undefined
  const bytes: number[] = []
  for (const part of parts) {
    // No leading zero: some readers take it as octal
    if (part.length < 1 || part.length > 3 || (part.length > 1 && part[0] === '0')) return undefined
    const byte = decimal(part)
    if (byte === undefined || byte > 255) return undefined
    bytes.push(byte)
  }
  return bytes
}

function decimal(text: string): number | undefined {
  let value = 0
  for (let i = 0; i < text.length; i++) {
    const digit = text.charCodeAt(i) - 48
    if (digit < 0 || digit > 9) return undefined
    value = value * 10 + digit
  }
  return value
}

const GROUP = /^[0-9a-f]{1,4}$/i

function pushGroups(text: string, bytes: number[]): boolean {
  if (text === '') return true
  const groups = text.split(':')
  for (const [i, group] of groups.entries()) {
    if (i === groups.length - 1 && group.includes('.')) {
      const last = parseIpv4(group)
      if (!last) return false
      bytes.push(...last)
    } else {
      if (!GROUP.test(group)) return false
      const value = Number.parseInt(group, 16)
      bytes.push(value >> 8, value & 255)
    }
  }
  return true
}

function parseIpv6(text: string): number[] | undefined {
  if (text.length > 45) return undefined
  const gap = text.indexOf('::')
  const bytes: number[] = []
  if (gap === -1) return pushGroups(text, bytes) && bytes.length === 16 ? bytes : undefined
  const before = text.slice(0, gap)
  if (before.includes('.') || !pushGroups(before, bytes)) return undefined
  const after: number[] = []
  if (!pushGroups(text.slice(gap + 2), after)) return undefined
  const missing = 16 - bytes.length - after.length
  if (missing < 2) return undefined
  for (let i = 0; i < missing; i++) bytes.push(0)
  bytes.push(...after)
  return bytes
}

function isMapped(bytes: readonly number[]): boolean {
  for (let i = 0; i < 10; i++) if (bytes[i] !== 0) return false
  return bytes[10] === 255 && bytes[11] === 255
}

/** An IP literal without brackets or port; a zone (`fe80::1%eth0`) is cut. Undefined for anything else, names too. */
export function parseIp(text: string): IpAddress | undefined {
  if (!text.includes(':')) return parseIpv4(text)
  const zone = text.indexOf('%')
  const bytes = parseIpv6(zone === -1 ? text : text.slice(0, zone))
  return bytes && isMapped(bytes) ? bytes.slice(12) : bytes
}

/** One spelling an address: dotted IPv4, or eight groups of IPv6 without a gap. */
export function formatIp(address: IpAddress): string {
  return address.length === 4 ? address.join('.') : groupsOf(address, 8).join(':')
}

function groupsOf(address: IpAddress, count: number): string[] {
  const groups: string[] = []
  for (let i = 0; i < 2 * count; i += 2) groups.push(((address[i]! << 8) | address[i + 1]!).toString(16))
  return groups
}

/** How an address is counted: IPv4 whole, IPv6 as its /64, which one customer holds entirely. */
export function countedAs(address: IpAddress): string {
  return address.length === 4 ? address.join('.') : `${groupsOf(address, 4).join(':')}::/64`
}

export function isLoopback(address: IpAddress): boolean {
  if (address.length === 4) return address[0] === 127
  return address[15] === 1 && address.every((byte, i) => i === 15 || byte === 0)
}

interface Network {
  readonly bytes: IpAddress
  readonly bits: number
}

function parseNetwork(text: string): Network | undefined {
  const slash = text.indexOf('/')
  const bytes = parseIp(slash === -1 ? text : text.slice(0, slash))
  if (!bytes) return undefined
  if (slash === -1) return { bytes, bits: bytes.length * 8 }
  const prefix = text.slice(slash + 1)
  let bits = prefix.length > 0 && prefix.length <= 3 ? decimal(prefix) : undefined
  // ::ffff:10.0.0.0/104 counts its bits in IPv6
  if (bits !== undefined && bytes.length === 4 && text.includes(':')) bits -= 96
  return bits !== undefined && bits >= 0 && bits <= bytes.length * 8 ? { bytes, bits } : undefined
}

function holds(network: Network, address: IpAddress): boolean {
  if (network.bytes.length !== address.length) return false
  for (let i = 0, bits = network.bits; bits > 0; i++, bits -= 8) {
    const mask = bits >= 8 ? 255 : 256 - 2 ** (8 - bits)
    if ((network.bytes[i]! & mask) !== (address[i]! & mask)) return false
  }
  return true
}

/**
 * `--trusted-proxy`: addresses and CIDR networks, as Policy.isTrustedProxy asks them.
 * @throws {ComfyAuthError} usage, where one is neither.
 */
export function trustedProxies(networks: readonly string[]): (address: string) => boolean {
  const parsed = networks.map((text, i) => {
    const network = parseNetwork(text)
    if (network) return network
    throw new ComfyAuthError('usage', `--trusted-proxy number ${i + 1} is no IP address or network.`, {
      remedy: 'Give an address or a CIDR network, such as 127.0.0.1 or 10.0.0.0/8.',
    })
  })
  if (parsed.length === 0) return () => false
  return (text) => {
    const address = parseIp(text)
    return address !== undefined && parsed.some((network) => holds(network, address))
  }
}
