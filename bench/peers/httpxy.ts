import { Agent, createServer } from 'node:http'
import { createProxyServer } from 'httpxy'

const [port, upstreamPort] = process.argv.slice(2).map(Number)
const agent = new Agent({ keepAlive: true, maxSockets: 64 })
const proxy = createProxyServer({ target: `http://127.0.0.1:${upstreamPort}`, agent })
createServer((request, response) => {
  proxy.web(request, response).catch(() => response.destroy())
}).listen(port, '127.0.0.1')
