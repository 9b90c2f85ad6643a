import replyFrom from '@fastify/reply-from'
import fastify from 'fastify'

const [port, upstreamPort] = process.argv.slice(2).map(Number)
const app = fastify()
app.register(replyFrom, { base: `http://127.0.0.1:${upstreamPort}`, undici: { connections: 64, pipelining: 1 } })
app.all('/*', (request, reply) => reply.from(request.url))
await app.listen({ port: port!, host: '127.0.0.1' })
