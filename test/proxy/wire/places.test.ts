import { once } from 'node:events'
import { createServer, type Server, Socket } from 'node:net'
import { expect, test } from 'vitest'
import { Places } from '../../../src/proxy/wire/places.ts'
import { listenForRedirect } from '../../../src/proxy/wire/redirect.ts'
import { listen, SERVER_LIMITS } from '../../../src/proxy/wire/server.ts'
import { UNREAD_BYTES, Unread } from '../../../src/proxy/wire/unread.ts'
import { closers } from '../../support/closers.ts'
import { get, rawClient } from './support.ts'

/** A connection of this address, as a server would tell of it. */
function arrive(server: Server, remoteAddress: string): Socket {
  const socket = new Socket()
  Object.defineProperty(socket, 'remoteAddress', { value: remoteAddress })
  server.emit('connection', socket)
  return socket
}

function guarded(limits: { connections?: number; connectionsPerAddress?: number }, closeIdle = () => {}) {
  const places = new Places({ connections: 100, connectionsPerAddress: 100, ...limits }, (text) => text === '127.0.0.1')
  const servers = [createServer(), createServer()]
  for (const server of servers) places.guard(server, () => closeIdle())
  return servers as [Server, Server]
}

test.each([
  ['an IPv4 address', '192.0.2.1', '192.0.2.1', '192.0.2.2'],
  ['an IPv4 address written as IPv6', '192.0.2.1', '::ffff:192.0.2.1', '::ffff:192.0.2.2'],
  ['the /64 of an IPv6 address, whatever its zone', '2001:db8::1', '2001:db8:0:0:ffff::2%eth0', '2001:db8:0:1::1'],
])('connections are counted by %s, over all listeners', async (_what, first, same, other) => {
  const [a, b] = guarded({ connectionsPerAddress: 1 })
  const taken = arrive(a, first)
  expect([taken.destroyed, arrive(b, same).destroyed, arrive(b, other).destroyed]).toEqual([false, true, false])
  taken.destroy()
  await once(taken, 'close')
  expect([arrive(b, same).destroyed, arrive(a, first).destroyed]).toEqual([false, true])
})

test('addresses that speak for many count in total alone', () => {
  const [a, b] = guarded({ connections: 3, connectionsPerAddress: 1 })
  const arrived = [a, b, a, b].map((server) => arrive(server, '127.0.0.1').destroyed)
  expect(arrived).toEqual([false, false, false, true])
})

test('where nearly all are taken, every listener is asked for those that stand idle', () => {
  let asked = 0
  const [a] = guarded({ connections: 10 }, () => asked++)
  for (let i = 0; i < 8; i++) arrive(a, '127.0.0.1')
  expect(asked).toBe(0)
  arrive(a, '127.0.0.1')
  expect(asked).toBe(2)
})

test('the port that sends browsers on to TLS takes from the same count', async () => {
  const places = new Places({ connections: 100, connectionsPerAddress: 1 }, () => false)
  const listener = await listen({
    host: '127.0.0.1',
    port: 0,
    limits: SERVER_LIMITS,
    places,
    unread: new Unread({ ...UNREAD_BYTES, stillMs: 10_000 }, () => performance.now()),
    nowMs: Date.now,
    onRequest: (_request, response) => void response.end('hi'),
    onUpgrade: (_request, socket) => socket.destroy(),
    onRefused: () => {},
  })
  const redirect = await listenForRedirect({
    host: '127.0.0.1',
    port: 0,
    limits: SERVER_LIMITS,
    places,
    originFor: () => 'https://localhost',
  })
  closers.push(
    () => listener.close(0),
    () => redirect.close(),
  )
  const first = await rawClient(listener.port, get('/'))
  await first.until(/hi/)
  expect(await (await rawClient(listener.port, get('/'))).ended()).toBe('')
  expect(await (await rawClient(redirect.port, get('/'))).ended()).toBe('')
  first.socket.destroy()
})
