import fc from 'fast-check'
import { expect, test } from 'vitest'
import { injectIndex } from '../../../src/proxy/pages/index-page.ts'
import { pages } from '../../support/html.ts'
import { account, facts, header, house } from './support.ts'

const HTML = ['Content-Type', 'text/html']
const TAG = '<script src="/auth_inject.js"></script>'
const inject = (page: string, headers: readonly string[] = HTML, wayOut = true) =>
  injectIndex(Buffer.from(page, 'latin1'), headers, { wayOut, basePath: '' })?.toString('latin1')

test.each([
  ['<!doctype html><html><head><title>x</title></head></html>', '<head>'],
  ['<!DOCTYPE html>\n<HTML lang="en"><HEAD data-a="1">\n<script>first()</script>', '<HEAD data-a="1">'],
  ['<!doctype html><html lang="en"><title>no head</title>', '<html lang="en">'],
  ['<!doctype html><title>neither</title>', '<!doctype html>'],
  ['<!-- <head> --><html><head><script src="a.js">', '--><html><head>'],
  ['<html><header>not a head</header>', '<html>'],
  ['<!doctype html><title>x</title><script>const t="<head>"</script>', '<!doctype html>'],
  ['<!doctype html><html><body><script>const t="<head>"</script>', '<!doctype html><html>'],
  ['<!doctype html><title>"<head>"</title>', '<!doctype html>'],
  ['<!doctype html><html><style>/*<head>*/</style>', '<!doctype html><html>'],
  ['<html data-x="<head>"><head><title>x</title>', '"><head>'],
  ["<html x='>' y = z/><head data-x=\"a>b\" data-y='c>'><title>", "c>'>"],
  ['<html><head ="a>b">', '<head ="a>'],
  ['<!--><!doctype html><html><head>', '<html><head>'],
  ['<!---><!doctype html><title>', '<!doctype html>'],
  ['<!-- a --!><!-- <head> --><html>\n<head>', '<html>\n<head>'],
  ['<!doctype html>\n<!-- a --> <title>', '<!-- a --> '],
  ['<?xml version="1.0"?><!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" "x"><html><head>', '<html><head>'],
  ['\u00ef\u00bb\u00bf <html><head>', '<html><head>'],
  ['</p></ x></><html></title><head>', '</title><head>'],
  ['<html></body><head>', '<html>'],
  ['<html>text<head>', '<html>'],
  ['<html><frameset><frame src="a"></frameset>', '<html>'],
])('our script is the first of %j', (page, before) => {
  expect(inject(page)).toBe(page.replace(before, () => before + TAG))
})

test('a page without any of it gets the script at its start', () => {
  expect(inject('hello')).toBe(`${TAG}hello`)
  expect(inject('')).toBe(TAG)
})

test('the way out can be left out', () => {
  expect(inject('<head>', HTML, false)).toBe('<head><script src="/auth_inject.js" data-way-out="off"></script>')
})

test('the page says whose key it is for, unless the browser is to keep nothing', () => {
  const of = (storage: 'on' | 'off', keyId?: string) =>
    house({ storage }).pages.injectIndex(Buffer.from('<head>'), HTML, keyId)?.toString()
  expect(of('on', '4Fw0nNpYqX7d')).toBe('<head><script src="/auth_inject.js" data-key="4Fw0nNpYqX7d"></script>')
  expect(of('on')).toBe(`<head>${TAG}`)
  expect(of('off', '4Fw0nNpYqX7d')).toBe(`<head>${TAG}`)
})

test.each([
  ['already injected', '<head><script src="/auth_inject.js"></script>', HTML],
  ['no HTML', '{}', ['Content-Type', 'application/json']],
  ['of no stated type', '<head>', []],
  ['compressed', '<head>', [...HTML, 'Content-Encoding', 'gzip']],
  ['in UTF-16', '<head>', ['Content-Type', 'text/html; charset="UTF-16LE"']],
  ['in UTF-16 by its mark', '\xff\xfe<\0h\0e\0a\0d\0>\0', HTML],
  ['in UTF-16 without a mark', '\0<\0h\0e\0a\0d\0>', HTML],
  ['in ISO-2022-JP', '<head>', ['Content-Type', 'text/html;charset=iso-2022-jp']],
  ['over 2 MiB', `<head>${' '.repeat(2 * 1024 * 1024)}`, HTML],
])('a page that is %s passes as it is', (_, page, headers) => {
  expect(inject(page, headers)).toBeUndefined()
})

test.each([
  ["default-src 'self' 'unsafe-inline'", TAG],
  ["img-src 'none'", TAG],
  ["script-src 'nonce-aGk=' 'strict-dynamic'", '<script src="/auth_inject.js" nonce="aGk="></script>'],
  ["default-src 'none'; script-src-elem 'self'", TAG],
])('the page’s own CSP is kept to: %s', (policy, tag) => {
  expect(inject('<head>', [...HTML, 'Content-Security-Policy', policy])).toBe(`<head>${tag}`)
})

test.each([
  ["script-src 'nonce-aa' 'nonce-bb'", "script-src 'nonce-bb'", 'bb'],
  ["script-src 'nonce-aa' 'nonce-bb', script-src 'self'", "script-src 'nonce-bb' 'nonce-cc' 'strict-dynamic'", 'bb'],
  ["script-src 'nonce-aa'", "script-src 'nonce-bb'", undefined],
  ["script-src 'nonce-aa'", "script-src 'none'", undefined],
  ["SCRIPT-SRC 'SELF'", 'script-src *', ''],
])('of two policies, %s and %s, both are kept to', (first, second, nonce) => {
  const injected = inject('<head>', [...HTML, 'Content-Security-Policy', first, 'content-security-policy', second])
  const tag = nonce === '' ? TAG : TAG.replace('></', ` nonce="${nonce}"></`)
  expect(injected).toBe(nonce === undefined ? undefined : `<head>${tag}`)
})

test.each(["default-src 'none'", "script-src 'sha256-AAAA='", "script-src 'strict-dynamic' 'self'"])(
  'under a CSP that would not run it (%s) nothing is injected',
  (policy) => {
    expect(inject('<head>', [...HTML, 'Content-Security-Policy', policy])).toBeUndefined()
  },
)

test('whatever the bytes of a page, all of them are still there', () => {
  const piece = fc.constantFrom('<head>', '<html>', '<!--', '-->', '<!doctype html>', '<HEAD x>', 'é', '\u0000', '<')
  fc.assert(
    fc.property(fc.array(fc.oneof(piece, fc.string({ unit: 'binary' }))), (parts) => {
      const page = Buffer.from(`\n${parts.join('')}`)
      const injected = injectIndex(page, HTML, { wayOut: true, basePath: '' })!
      const at = injected.indexOf(TAG)
      expect(at).toBeGreaterThanOrEqual(0)
      expect(Buffer.concat([injected.subarray(0, at), injected.subarray(at + TAG.length)]).equals(page)).toBe(true)
    }),
  )
})

test('whatever stands before the head, our script is the first thing in it', () => {
  fc.assert(
    fc.property(pages, ({ before, after }) => {
      expect(inject(before + after)).toBe(before + TAG + after)
    }),
  )
})

test('/auth_inject.js may be kept, and is asked for again by its ETag', async () => {
  const { pages } = house()
  const get = (headers: Record<string, string> = {}) =>
    pages.answer(
      { kind: 'page', page: 'inject-script', returnTo: '/', account: account() },
      { facts: facts({ target: '/auth_inject.js', headers }), body: Buffer.alloc(0) },
    )
  const first = await get()
  expect([first.status, header(first, 'content-type')]).toEqual([200, 'text/javascript; charset=utf-8'])
  expect(header(first, 'cache-control')).toBe('no-cache')
  const again = await get({ 'If-None-Match': header(first, 'etag')! })
  expect([again.status, again.body]).toEqual([304, ''])
})

test('below --base-path the script is asked for there', () => {
  const page = injectIndex(Buffer.from('<head>'), HTML, { wayOut: true, basePath: '/comfy' })
  expect(String(page)).toBe('<head><script src="/comfy/auth_inject.js"></script>')
})
