import { describe, expect, test } from 'vitest'
import { ComfyAuthError } from '../../src/errors.ts'
import { isPublicAddress, type ProxyOptions, parseUpstream, validate } from '../../src/proxy/options.ts'
import { testKeys } from './wire/support.ts'

const GOOD: ProxyOptions = {
  upstream: 'http://127.0.0.1:8188',
  listen: '127.0.0.1',
  port: 8189,
  keys: testKeys(),
  serveDb: ':memory:',
}

function faultOf(options: Partial<ProxyOptions>): string {
  try {
    validate({ ...GOOD, ...options })
  } catch (error) {
    if (error instanceof ComfyAuthError && error.kind === 'usage' && error.remedy !== '') return error.message
    throw error
  }
  throw new Error('it was taken')
}

describe('what is refused, with the flag to mend', () => {
  const CASES: readonly [string, Partial<ProxyOptions>][] = [
    ...[
      '',
      'localhost:8188',
      '127.0.0.1:8188',
      'ftp://127.0.0.1',
      'http://127.0.0.1:8188/comfy',
      'http://127.0.0.1:8188/?a',
    ].map((upstream): [string, Partial<ProxyOptions>] => ['--upstream', { upstream }]),
    ['--upstream', { upstream: 'http://user:secret@127.0.0.1:8188' }],
    ['--upstream', { upstream: 'unix:comfyui.sock' }],
    ['--upstream', { upstream: `unix:/${'\u00e9'.repeat(60)}` }],
    ['--upstream', { upstream: 'http://localhost:8189' }],
    ['--upstream', { upstream: 'http://127.0.0.1:8189', listen: '0.0.0.0' }],
    ['--listen', { listen: 'example.com' }],
    ['--listen', { listen: '' }],
    ['--listen', { listen: '::1%lo' }],
    ['--listen', { listen: '127.0.0.1,[fe80::1%eth0]' }],
    ['--port', { port: 65_536 }],
    ['--hsts', { hsts: true }],
    ['--hsts', { hsts: true, tls: { selfSigned: 'own.pem' } }],
    ['--tls-redirect-port', { tlsRedirectPort: 80 }],
    ['--tls-redirect-port', { tlsRedirectPort: 8189, tls: { certFile: 'a.pem', keyFile: 'b.pem' } }],
    ['--upstream-ca', { upstreamCa: 'ca.pem' }],
    ['--port', { port: -1 }],
    ['--no-auth', { keys: undefined, listen: '0.0.0.0' }],
    ['--no-auth', { keys: undefined, listen: '127.0.0.1,::' }],
    ['--public-url', { publicUrl: 'gpu.example.com' }],
    ['--public-url', { publicUrl: 'https://gpu.example.com/comfy' }],
    ['--allow-host', { allowHosts: ['gpu.example.com:443'] }],
    ['--allow-host', { allowHosts: ['gpu example'] }],
    ['--trusted-proxy', { trustedProxies: ['10.0.0.0/33'] }],
    ['--trusted-proxy', { trustedProxies: ['nginx'] }],
    ...['/*', '/api/*', '/api/queue', '/api', 'ws', '/a//b', '/a/../b', '/a%2fb', '/a?b', '/a/*/b', '/a#b', ''].map(
      (path): [string, Partial<ProxyOptions>] => ['--exempt-path', { exemptPaths: [path] }],
    ),
    ...[
      'GET /a',
      'user:/a',
      'user:get /a',
      'root:GET /a',
      'user:GET a',
      'user:GET /*',
      'user:GET /api/*',
      'user:GET /a/../b',
      // What the table of roles names, which it would not change
      'user:POST /free',
      'user:POST /api/free',
      'viewer:HEAD /view',
      'user:GET /internal/logs',
      'viewer:GET /history/abc',
      'user:GET /assets/*',
      'admin:GET /extensions/my-node/*',
      'user:GET /api/manager/*',
      'user:POST /manager/queue/*',
    ].map((route): [string, Partial<ProxyOptions>] => ['--route', { routes: [route] }]),
    ['--enable-cors-header', { corsHeader: 'example.com' }],
    ['--enable-cors-header', { corsHeader: 'https://example.com/' }],
    ['--enable-cors-header', { corsHeader: 'null' }],
  ]
  for (const [flag, options] of CASES) {
    test(`${flag}: ${JSON.stringify({ ...options, keys: undefined })}`, () => {
      expect(faultOf(options)).toContain(flag)
    })
  }

  test('no message repeats what was given', () => {
    expect(faultOf({ upstream: 'http://user:secret@127.0.0.1:8188' })).not.toContain('secret')
    expect(faultOf({ exemptPaths: ['comfy_secret'] })).not.toContain('secret')
    expect(faultOf({ routes: ['comfy_secret'] })).not.toContain('secret')
    expect(faultOf({ trustedProxies: ['comfy_secret'] })).not.toContain('secret')
  })
})

describe('what is taken', () => {
  test('upstreams', () => {
    const longest = `/${'a'.repeat(102)}`
    expect(parseUpstream(`unix:${longest}`)).toMatchObject({ socketPath: longest })
    expect(parseUpstream('http://[::1]:8188')).toMatchObject({ hostname: '::1', port: 8188 })
    expect(parseUpstream('https://gpu.example')).toMatchObject({ protocol: 'https:', port: 443 })
    expect(parseUpstream('http://comfy')).toMatchObject({ hostname: 'comfy', port: 80 })
    expect(parseUpstream('unix:/run/comfyui.sock')).toMatchObject({ socketPath: '/run/comfyui.sock' })
  })

  test('paths and routes of a custom node', () => {
    const { exemptPaths, extraRoutes } = validate({
      ...GOOD,
      exemptPaths: ['/ws', '/my-node/*', '/'],
      routes: ['user:GET /easyuse/*', 'viewer:POST /api/mine'],
    })
    expect(exemptPaths).toEqual(['/ws', '/my-node/*', '/'])
    expect(extraRoutes).toEqual([
      { role: 'user', method: 'GET', path: '/easyuse/*' },
      { role: 'viewer', method: 'POST', path: '/api/mine' },
    ])
    // A name of the table with another method, or a folder of which it names a part
    const others = ['user:PUT /free', 'user:POST /extensions/my-node/*', 'user:GET /history/*']
    expect(validate({ ...GOOD, routes: others }).extraRoutes).toHaveLength(others.length)
  })

  test('which names it goes by', () => {
    const kind = (options: Partial<ProxyOptions>) => validate({ ...GOOD, ...options }).hosts.kind
    expect(kind({})).toBe('loopback')
    expect(kind({ listen: 'localhost' })).toBe('loopback')
    expect(kind({ listen: '0.0.0.0' })).toBe('any')
    expect(kind({ listen: '0.0.0.0', allowHosts: ['gpu.example'] })).toBe('listed')
    expect(kind({ listen: '0.0.0.0', publicUrl: 'https://gpu.example' })).toBe('listed')
    expect(kind({ listen: '0.0.0.0', keys: undefined, allowInsecureBind: true })).toBe('ip')
  })
})

test('a public address is told from the private ones', () => {
  for (const host of [
    '127.0.0.1',
    '10.1.2.3',
    '172.31.0.1',
    '192.168.1.1',
    '100.64.0.1',
    '[::1]',
    '[fd00::1]',
    'gpu.lan',
  ]) {
    expect(isPublicAddress(`http://${host}:8188`), host).toBe(false)
  }
  for (const host of ['8.8.8.8', '172.32.0.1', '[2001:db8::1]']) {
    expect(isPublicAddress(`http://${host}:8188`), host).toBe(true)
  }
})

test.each([
  ['', ''],
  ['/', ''],
  ['/comfy', '/comfy'],
  ['/comfy/', '/comfy'],
  ['/gpu/one.two', '/gpu/one.two'],
])('--base-path %j is %j', (basePath, expected) => {
  expect(validate({ ...GOOD, basePath }).basePath).toBe(expected)
})

test.each(['comfy', '/a//b', '/..', '/a/../b', '/a b', '/a"b', '/a%2fb', 'https://h/comfy', '/a?b', '/a;b'])(
  '--base-path %j is refused',
  (basePath) => {
    expect(() => validate({ ...GOOD, basePath })).toThrow('--base-path is no plain path.')
  },
)
