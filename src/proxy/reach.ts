import dns from 'node:dns/promises'
import { isIP } from 'node:net'
import { type NetworkInterfaceInfo, networkInterfaces } from 'node:os'
import { isPublicAddress, parseUpstream } from './options.ts'

/** Of containers and virtual machines: nobody else reaches this machine by them. */
const VIRTUAL = /^(?:docker|br-|veth|virbr|vmnet|lxc|cni|flannel)/
const MOST_ADDRESSES = 4
const LOOKUP_MS = 2_000

/**
 * Where a browser opens what listens at `url`: itself, or where that is every address of the machine (0.0.0.0, ::), the
 * `names` that alone it answers to, else this machine's own address first and then those that its network knows.
 */
export function reachableUrls(
  url: string,
  names: readonly string[],
  interfaces: NodeJS.Dict<NetworkInterfaceInfo[]> = networkInterfaces(),
): readonly [string, ...string[]] {
  const bound = new URL(url)
  if (bound.hostname !== '0.0.0.0' && bound.hostname !== '[::]') return [url]
  const at = (host: string) => url.replace(bound.hostname, host)
  const [name, ...others] = names
  if (name !== undefined) return [at(name), ...others.map(at)]
  const found = Object.entries(interfaces)
    .filter(([device]) => !VIRTUAL.test(device))
    .flatMap(([, addresses = []]) => addresses)
    .filter(({ internal }) => !internal)
  const of = (family: 'IPv4' | 'IPv6') => found.filter((info) => info.family === family).map(({ address }) => address)
  const network = of('IPv4')
  if (network.length === 0 && bound.hostname === '[::]') {
    const routed = of('IPv6').filter((address) => !/^fe[89ab]/i.test(address))
    return [at('localhost'), ...routed.slice(0, MOST_ADDRESSES).map((address) => at(`[${address}]`))]
  }
  return [at(bound.hostname === '[::]' ? 'localhost' : '127.0.0.1'), ...network.slice(0, MOST_ADDRESSES).map(at)]
}

/** The whole internet can route to the upstream, whether it is named by an address or by a name. */
export async function isPublicUpstream(
  upstream: string,
  lookup: (name: string) => Promise<readonly { readonly address: string }[]> = (name) =>
    dns.lookup(name, { all: true }),
): Promise<boolean> {
  const { protocol, hostname, socketPath } = parseUpstream(upstream)
  if (socketPath !== undefined) return false
  if (isIP(hostname) !== 0) return isPublicAddress(upstream)
  const late = new Promise<readonly []>((resolve) => setTimeout(resolve, LOOKUP_MS, []).unref())
  const found = await Promise.race([lookup(hostname), late]).catch(() => [])
  return found.some(({ address }) => isPublicAddress(`${protocol}//${isIP(address) === 6 ? `[${address}]` : address}`))
}
