import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decide } from '../../src/proxy/decide/decide.ts'
import {
  cookie,
  type FactsOverrides,
  KEYS,
  makeFacts,
  makePolicy,
  type PolicyOverrides,
  SESSIONS,
} from '../support/policy.ts'

function ask(facts: FactsOverrides | string, policy: PolicyOverrides = {}) {
  return decide(makeFacts(typeof facts === 'string' ? { target: facts } : facts), makePolicy(policy))
}

function isOpen(facts: FactsOverrides | string, policy: PolicyOverrides = {}): boolean {
  return ask(facts, policy).kind !== 'refuse'
}

describe('our own pages are open', () => {
  test.each([
    ['GET', '/health', 'health'],
    ['HEAD', '/health', 'health'],
    ['GET', '/auth_login.html', 'login'],
    ['GET', '/auth_login.html?logout=true', 'login'],
    ['HEAD', '/auth_login.html', 'login'],
    ['POST', '/auth_login.html', 'login-post'],
    ['GET', '/auth_inject.js', 'inject-script'],
    ['HEAD', '/auth_inject.js', 'inject-script'],
    ['GET', '/%68ealth', 'health'],
  ])('%s %s', (method, target, page) => {
    for (const exempt of ['static', 'minimal'] as const) {
      expect(ask({ method, target }, { exempt })).toMatchObject({ kind: 'page', page })
    }
  })

  test.each([
    ['POST', '/health'],
    ['PUT', '/auth_login.html'],
    ['POST', '/auth_inject.js'],
    ['OPTIONS', '/health'],
    ['GET', '/auth_logout'],
    ['POST', '/auth_logout'],
    ['GET', '/health/'],
    ['GET', '/HEALTH'],
    ['GET', '//health'],
    ['GET', '/./health'],
    ['GET', '/api/health'],
    ['GET', '/api/auth_login.html'],
    ['GET', '/health%2f'],
    ['GET', '/auth_login.html;x'],
  ])('%s %s is not', (method, target) => {
    expect(isOpen({ method, target })).toBe(false)
  })

  test('to an Upgrade they are not', () => {
    for (const target of ['/health', '/auth_login.html', '/auth_inject.js', '/assets/x.js']) {
      expect(isOpen({ target, upgrade: true }), target).toBe(false)
    }
  })

  test('with a stale cookie or a wrong key too: they are not asked for', () => {
    const headers = { ...cookie(`comfys_${'0'.repeat(43)}`), Authorization: 'Bearer wrong' }
    expect(ask({ target: '/auth_login.html', headers })).toMatchObject({
      kind: 'page',
      account: { principal: undefined, failures: [] },
    })
  })
})

const OPEN = [
  '/assets/index-abc.js',
  '/assets/deep/er/x.css',
  '/assets/x.PNG',
  '/assets/x.html',
  '/assets/x.json',
  '/scripts/app.js',
  '/lib/litegraph.css',
  '/fonts/inter.woff2',
  '/cursor/paint.png',
  '/templates/index.json',
  '/templates/a-1.webp',
  '/docs/KSampler/en.json',
  '/docs/x.mp4',
  '/extensions/node/a.js',
  '/extensions/node/deep/a.CSS',
  '/extensions/node/a.svg',
  '/extensions/node/a.woff',
  '/extensions/node/a.woff2',
  '/extensions/node/a.ttf',
  '/extensions/core/a.js?v=1',
  '/materialdesignicons.min.css',
  '/favicon.ico',
  '/%61ssets/x.js',
  '/assets/a%20b.j%73',
]

const SHUT = [
  '/',
  '/index.html',
  '/api/',
  '/assets',
  '/assets/',
  '/assets/x',
  '/assets/x.py',
  '/assets/x.js/',
  '/assets/x.js.map',
  '/assets/xjs',
  '/Assets/x.js',
  '/assetsx/x.js',
  '/extensions/node/config.json',
  '/extensions/node/a.html',
  '/extensions/node/key.png',
  '/extensions/node/__init__.py',
  '/extensions',
  '/user.css',
  '/x.js',
  '/queue.js',
  '/manifest.json',
  '/FAVICON.ICO',
  '/favicon.ico/',
  '/userdata/x.json',
  '/userdata/x.png',
  '/view/x.png',
  '/history/x.js',
  '/object_info/x.js',
  '/settings/x.json',
  '/internal/x.css',
  '/models/x.json',
  '/workflow_templates/x.json',
  '/api/assets/x.js',
  '/api/extensions/node/a.js',
  '/api/userdata/user.css',
  '/api/workflow_templates/node/x.json',
  '/api/api/jobs/x.js',
  '/v2/manager/x.js',
  '/docs/x.md',
  '/assets/..%2fqueue.js',
  '/assets/../queue.js',
  '/assets/%2e%2e/queue.js',
  '/assets/a%252fb.js',
  '/assets/a;b.js',
  '/assets//x.js',
  '/assets/a%00.js',
  '/assets/a%5c.js',
]

describe('--exempt static', () => {
  test.each(OPEN)('opens %s to GET and HEAD', (target) => {
    expect(ask(target)).toMatchObject({
      kind: 'forward',
      account: { principal: undefined },
      response: { private: false },
    })
    expect(isOpen({ method: 'HEAD', target })).toBe(true)
    for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'get', 'GETX']) {
      expect(isOpen({ method, target }), method).toBe(false)
    }
  })

  test.each(SHUT)('does not open %s', (target) => {
    expect(isOpen(target)).toBe(false)
  })
})

test('--exempt minimal opens none of it', () => {
  for (const target of OPEN) expect(isOpen(target, { exempt: 'minimal' }), target).toBe(false)
})

describe('--exempt-path', () => {
  const opened = { exemptPaths: ['/ws', '/view', '/custom/*'] }

  test('opens a path, or all below a prefix, to GET and HEAD', () => {
    for (const target of ['/view?filename=x', '/custom/a', '/custom/a/b', '/custom/']) {
      expect(isOpen(target, opened), target).toBe(true)
      expect(isOpen({ target, method: 'HEAD' }, opened), target).toBe(true)
      expect(isOpen({ target, method: 'POST' }, opened), target).toBe(false)
    }
  })

  test('opens nothing beside it', () => {
    for (const target of [
      '/view/',
      '/viewx',
      '/custom',
      '/customx/a',
      '/api/view',
      '/custom/..%2fqueue',
      '/custom/%2e%2e/queue',
    ]) {
      expect(isOpen(target, opened), target).toBe(false)
    }
  })

  test('opens an Upgrade only by its exact name', () => {
    expect(isOpen({ target: '/ws?clientId=a', upgrade: true }, opened)).toBe(true)
    expect(isOpen({ target: '/custom/ws', upgrade: true }, opened)).toBe(false)
    expect(isOpen({ target: '/api/ws', upgrade: true }, opened)).toBe(false)
  })

  test('opens no Upgrade that is spelt as the folder itself', () => {
    for (const target of ['/custom/*', '/custom/%2A', '/custom/%2a?clientId=a']) {
      expect(isOpen({ target, upgrade: true }, { exemptPaths: ['/custom/*'] }), target).toBe(false)
    }
  })

  test('opens nothing under /api/, whatever it says', () => {
    const all = { exemptPaths: ['/api/*', '/api/queue', '/api/ws', '/*'] }
    expect(isOpen('/api/queue', all)).toBe(false)
    expect(isOpen('/api/', all)).toBe(false)
    expect(isOpen({ target: '/api/ws', upgrade: true }, all)).toBe(false)
    expect(isOpen('/queue', all)).toBe(false)
  })

  test('takes /index.html for /, whichever it names', () => {
    for (const path of ['/', '/index.html']) {
      expect(isOpen('/', { exemptPaths: [path] })).toBe(true)
      expect(isOpen('/index.html', { exemptPaths: [path] })).toBe(true)
      expect(isOpen('/api/', { exemptPaths: [path] })).toBe(false)
    }
  })

  test('takes a slash that is data for data', () => {
    expect(isOpen('/userdata/a%2Fb.json', { exemptPaths: ['/userdata/a/*'] })).toBe(false)
    expect(isOpen('/userdata/a%2Fb.json', { exemptPaths: ['/userdata/*'] })).toBe(true)
  })

  test('lets an exempt Upgrade be somebody, or a stranger by address', () => {
    const socket = { target: '/ws', upgrade: true, peer: '192.0.2.7' }
    expect(ask(socket, opened).account.principal).toMatchObject({
      name: 'anonymous:192.0.2.7',
      role: 'viewer',
      keyId: undefined,
    })
    const live = ask({ ...socket, headers: cookie(SESSIONS.user.cookie) }, opened)
    expect(live.account.principal?.name).toBe('key:user-id')
    const dead = ask({ ...socket, headers: cookie(`comfys_${'0'.repeat(43)}`) }, opened)
    expect(dead.account.principal?.name).toBe('anonymous:192.0.2.7')
    const both = { Authorization: `Bearer ${KEYS.user}`, 'X-API-Key': KEYS.admin }
    expect(ask({ ...socket, headers: both }, opened)).toMatchObject({ refusal: { status: 400 } })
  })
})

test('nothing that is not named above is open', () => {
  const segment = fc.constantFrom(
    'assets',
    'api',
    'extensions',
    'queue',
    '..',
    '.',
    '%2e%2e',
    'a',
    '',
    '%2f',
    'userdata',
    'view',
  )
  const last = fc.constantFrom('x.js', 'x.json', 'x', '%2e', 'x%2f.js', 'x.js;', 'x.js%00', 'queue.css', '', 'x%.js')
  const roots = /^\/(assets|scripts|lib|fonts|cursor|templates|docs|extensions)\//
  fc.assert(
    fc.property(fc.array(segment, { maxLength: 4 }), last, (segments, name) => {
      const target = `/${[...segments, name].join('/')}`
      if (!isOpen(target)) return
      expect(target).toMatch(roots)
      expect(target).not.toMatch(/\/\.{1,2}(\/|$)|%|;|\/\//)
    }),
    { numRuns: 3_000 },
  )
})
