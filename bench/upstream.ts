import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePort, isInstalled, type Running, startPinned, temporaryFolder } from './process.ts'

/** What ComfyUI answers to GET /prompt: the small answer that its page and scripts ask for most. */
export const SMALL_BODY = '{"exec_info": {"queue_remaining": 0}}'

/** nginx answers by itself where it is installed: fast enough never to be what is measured; else bare Node. */
export async function startUpstream(core: number): Promise<Running> {
  const port = await freePort()
  const folder = temporaryFolder()
  if (isInstalled('nginx')) {
    const conf = join(folder, 'upstream.conf')
    writeFileSync(
      conf,
      `daemon off; worker_processes 1; pid ${folder}/pid; error_log stderr crit;
       events { worker_connections 4096; }
       http { access_log off; keepalive_requests 1000000000;
         server { listen 127.0.0.1:${port} backlog=4096; default_type application/json;
           location / { return 200 '${SMALL_BODY}'; } } }`,
    )
    return startPinned(core, ['nginx', '-c', conf, '-p', folder], port)
  }
  const script = join(folder, 'upstream.mjs')
  writeFileSync(
    script,
    `import { createServer } from 'node:http'
     createServer((_, res) => res.writeHead(200, { 'content-type': 'application/json' }).end('${SMALL_BODY}')).listen(${port}, '127.0.0.1')`,
  )
  return startPinned(core, [process.execPath, script], port)
}
