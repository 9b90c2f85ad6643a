import { Agent } from 'node:http'
import httpProxy from 'http-proxy-3'

const [port, upstreamPort] = process.argv.slice(2).map(Number)
const agent = new Agent({ keepAlive: true, maxSockets: 64 })
httpProxy.createProxyServer({ target: `http://127.0.0.1:${upstreamPort}`, agent }).listen(port!, '127.0.0.1')
