import { bytesOf, type Family, type Header, raw, type Who } from './case.ts'
import { signed, subprotocol } from './identity.ts'
import { mutate } from './mutations.ts'
import type { World } from './world.ts'

/** A browser's. */
export const HANDSHAKE: readonly Header[] = [
  ['Connection', 'Upgrade'],
  ['Upgrade', 'websocket'],
  ['Sec-WebSocket-Version', '13'],
  ['Sec-WebSocket-Key', 'dGhlIHNhbXBsZSBub25jZQ=='],
]

const SPELT: readonly (readonly Header[])[] = [
  HANDSHAKE,
  HANDSHAKE,
  HANDSHAKE.with(1, ['Upgrade', 'WebSocket']),
  HANDSHAKE.with(1, ['Upgrade', 'h2c']),
  HANDSHAKE.with(1, ['Upgrade', 'websocket, h2c']),
  HANDSHAKE.with(1, ['Upgrade', 'h2c,websocket']),
  HANDSHAKE.with(0, ['Connection', 'keep-alive, Upgrade']),
  HANDSHAKE.with(0, ['Connection', 'Upgrade, Authorization, X-API-Key']),
  HANDSHAKE.with(0, ['Connection', 'close']),
  HANDSHAKE.slice(1),
  HANDSHAKE.slice(0, 2),
  HANDSHAKE.slice(0, 3),
  HANDSHAKE.with(2, ['Sec-WebSocket-Version', '7']),
  HANDSHAKE.with(3, ['Sec-WebSocket-Key', 'short']),
  [...HANDSHAKE, ['Content-Length', '0']],
  [...HANDSHAKE, ['Upgrade', 'websocket']],
  [...HANDSHAKE, ['Sec-WebSocket-Extensions', 'permessage-deflate']],
]

const hidden = (world: World, who: Who, tag: (who: Who) => Header) =>
  Buffer.concat([
    bytesOf({ who, method: 'POST', target: '/free', body: '{}' }, tag(who), world),
    bytesOf({ who, method: 'GET', target: '/queue' }, tag(who), world),
  ])

/** Handshakes without a key and with too small a one, on sockets and on other paths, with requests behind them. */
export const upgrades: Family = (random, world, tag) => {
  const who = random.pick(['nobody', 'nobody', 'viewer', 'user'] as const)
  const path = random.pick(
    who === 'nobody'
      ? ['/ws', '/api/ws', '/queue', '/', '/assets/a.js']
      : ['/ws', '/internal/logs', '/free', '/v2/manager/reboot', '/api/api/ws', '/queue'],
  )
  const draft = signed(
    {
      who,
      method: random.pick(['GET', 'GET', 'GET', 'POST', 'HEAD', 'OPTIONS']),
      target: random.chance(0.4) ? mutate(path, random, 1) : path,
      version: random.pick(['HTTP/1.1', 'HTTP/1.1', 'HTTP/1.0']),
      headers: random.pick(SPELT),
    },
    random,
    world,
  )
  const bytes = bytesOf(draft, tag(who), world)
  return raw('upgrades', random.chance(0.6) ? Buffer.concat([bytes, hidden(world, 'nobody', tag)]) : bytes, random)
}

/** A bad handshake with a good key: ComfyUI answers 400 and would then serve what stands behind it. */
export const failedHandshakes: Family = (random, world, tag) => {
  const headers: Header[] = [...random.pick(SPELT.slice(3)), ['X-API-Key', world.keys.viewer]]
  const target = random.pick(['/ws', '/api/ws', '/queue', '/ws?clientId=a', '/system_stats'])
  const bytes = bytesOf({ who: 'viewer', method: 'GET', target, headers }, tag('viewer'), world)
  return raw('failedHandshakes', Buffer.concat([bytes, hidden(world, 'nobody', tag)]), random)
}

/** The clientId of an open socket, spelt in the ways in which ComfyUI reads it. */
export const clientIds: Family = (random, world, tag) => {
  const id = world.clientId
  const coded = [...id].map((char) => (random.chance(0.3) ? `%${char.charCodeAt(0).toString(16)}` : char)).join('')
  const query = random.pick([
    `clientId=${id}`,
    `clientId=${coded}`,
    `client%49d=${coded}`,
    `%63lientId=${coded}`,
    `a=b&clientId=${id}&clientId=other`,
    `&&clientId=${id}`,
    `clientId=${coded}&token=${world.keys.viewer}`,
    `token=${world.keys.viewer}&clientId=${id}`,
    `?clientId=${id}&clientId=${id}`,
    `clientId=other&clientId=${id}`,
    `clientId=&clientId=${id}`,
    `clientid=${id}`,
    `clientId=${id}%00`,
    `clientId=${id};x`,
  ])
  const who = random.pick(['viewer', 'user'] as const)
  const headers: Header[] = [...HANDSHAKE, ['Sec-WebSocket-Protocol', `${subprotocol(world.keys[who])}, chat`]]
  const target = `${random.pick(['/ws', '/api/ws', '/%77s'])}?${query.replace(`token=${world.keys.viewer}`, 'x=1')}`
  return raw('clientIds', bytesOf({ who, method: 'GET', target, headers }, tag(who), world), random)
}
