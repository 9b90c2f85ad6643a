import type { NetworkInterfaceInfo } from 'node:os'
import { expect, test } from 'vitest'
import { isPublicUpstream, reachableUrls } from '../../src/proxy/reach.ts'

const v4 = (address: string, internal = false) => ({ address, family: 'IPv4', internal }) as NetworkInterfaceInfo
const v6 = (address: string) => ({ address, family: 'IPv6', internal: false }) as NetworkInterfaceInfo
const LAN = {
  lo: [v4('127.0.0.1', true)],
  docker0: [v4('172.17.0.1')],
  wlan0: [v4('192.168.1.5'), v6('fe80::1'), v6('2001:db8::5')],
  eth1: [v4('10.0.0.7')],
}

test('what listens everywhere is opened at this machine, and from the network at its addresses', () => {
  expect(reachableUrls('http://0.0.0.0:8189/comfy', [], LAN)).toEqual([
    'http://127.0.0.1:8189/comfy',
    'http://192.168.1.5:8189/comfy',
    'http://10.0.0.7:8189/comfy',
  ])
  expect(reachableUrls('https://[::]:8189', [], { wlan0: [v6('fe80::1'), v6('2001:db8::5')] })).toEqual([
    'https://localhost:8189',
    'https://[2001:db8::5]:8189',
  ])
  expect(reachableUrls('http://0.0.0.0:8189', [], {})).toEqual(['http://127.0.0.1:8189'])
})

test('where only names are answered to, they are what is shown', () => {
  expect(reachableUrls('http://0.0.0.0:8189', ['gpu.lan', 'gpu'], LAN)).toEqual([
    'http://gpu.lan:8189',
    'http://gpu:8189',
  ])
})

test('what listens at one address, or has a public URL, is opened there', () => {
  for (const url of ['http://127.0.0.1:8189', 'https://gpu.example/comfy', 'http://[::1]:1']) {
    expect(reachableUrls(url, ['gpu.lan'], LAN)).toEqual([url])
  }
})

test('an upstream is public by its address or by what its name stands for, over https too', async () => {
  const answers = (...addresses: string[]) =>
    isPublicUpstream('https://gpu.example', async () => addresses.map((address) => ({ address })))
  expect(await answers('10.0.0.1', '192.168.1.1')).toBe(false)
  expect(await answers('10.0.0.1', '203.0.113.9')).toBe(true)
  expect(await answers('2001:db8::5')).toBe(true)
  expect(await answers('fd00::5')).toBe(false)
  expect(await isPublicUpstream('https://203.0.113.9')).toBe(true)
  expect(await isPublicUpstream('http://127.0.0.1:8188')).toBe(false)
  expect(await isPublicUpstream('unix:/run/comfyui.sock')).toBe(false)
  expect(await isPublicUpstream('https://gpu.example', () => Promise.reject(new Error('ENOTFOUND')))).toBe(false)
})
