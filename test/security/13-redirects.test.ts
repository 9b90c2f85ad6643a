import { describe, expect, test } from 'vitest'
import { decide } from '../../src/proxy/decide/decide.ts'
import type { ResponsePlan } from '../../src/proxy/decide/facts.ts'
import { responseHeaders } from '../../src/proxy/decide/response-headers.ts'
import { bearer, KEYS, makeFacts, makePolicy } from '../support/policy.ts'

const PLAN: ResponsePlan = {
  private: true,
  noStore: false,
  sandbox: false,
  index: false,
  corsOrigin: undefined,
  userStyle: false,
  cookieNames: [],
  basePath: '',
  upstreamHost: '127.0.0.1:8188',
}

describe('a redirect of the upstream', () => {
  const to = (location: string, plan: Partial<ResponsePlan> = {}) => {
    const headers = responseHeaders(['Location', location], { ...PLAN, ...plan }, 302)
    return headers[headers.indexOf('Location') + 1]!
  }
  const below = { basePath: '/comfy' }

  test('to a path of its own leads below --base-path', () => {
    expect(to('/my-node/?a=/b#c', below)).toBe('/comfy/my-node/?a=/b#c')
    expect(to('/', below)).toBe('/comfy/')
    expect(to('/my-node/')).toBe('/my-node/')
  })

  test('to itself by the name it has for us leads to us', () => {
    expect(to('http://127.0.0.1:8188/my-node/?a#b', below)).toBe('/comfy/my-node/?a#b')
    expect(to('HTTP://127.0.0.1:8188/x')).toBe('/x')
    expect(to('//127.0.0.1:8188/x')).toBe('/x')
    expect(to('http://127.0.0.1:8188')).toBe('/')
    expect(to('http://127.0.0.1:8188?a')).toBe('/?a')
    const https = { upstreamHost: 'gpu.example', ...below }
    expect(to('https://GPU.example:443/\u00c3\u00bc', https)).toBe('/comfy/\u00c3\u00bc')
    expect(to('http://[::1]/x', { upstreamHost: '[::1]' })).toBe('/x')
  })

  test('never names another host by that', () => {
    expect(to('http://127.0.0.1:8188//evil.example/')).toBe('/.//evil.example/')
    expect(to('http://127.0.0.1:8188/\\evil.example/')).toBe('/./\\evil.example/')
    expect(to('http://127.0.0.1:8188//evil.example/', below)).toBe('/comfy//evil.example/')
    expect(new URL(to('http://127.0.0.1:8188//evil.example/'), 'http://gpu.lan:8189').host).toBe('gpu.lan:8189')
  })

  test('relative, or to another host, stays as it is', () => {
    for (const location of [
      'x',
      '?a',
      '../x',
      '',
      'https://evil.example/x',
      '//evil.example/x',
      '/\\evil.example/x',
      'http://127.0.0.1:8188@evil.example/',
      'http://a@127.0.0.1:8188/x',
      'http://127.0.0.1:81880/',
      'http://127.0.0.1/x',
      'http://127.0.0.1:8188.evil.example/',
      'javascript:alert(1)',
      'http://',
    ]) {
      expect(to(location, below), location).toBe(location)
    }
  })

  test('has what the policy says', () => {
    const policy = { basePath: '/comfy', upstreamHost: '10.0.0.9' }
    const decision = decide(makeFacts({ target: '/comfy/queue', headers: bearer(KEYS.admin) }), makePolicy(policy))
    expect(decision).toMatchObject({ kind: 'forward', response: policy })
  })
})
