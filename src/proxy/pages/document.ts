import { createHash } from 'node:crypto'
import { readPackageText } from '../../files/package.ts'
import { type Answer, OWN_HEADERS } from './answer.ts'

/** One of web/'s pages, with its style and script put in. */
export interface Document {
  /** The page with only the named block of `<!--begin x-->...<!--end x-->`, and each `{{name}}` escaped; `base` is --base-path. */
  answer(status: number, block: string, values: Readonly<Record<string, string>>, headers?: readonly string[]): Answer
}

/**
 * Reads web/NAME.html and puts `NAME.css` and `NAME.js` in where it names them, so that a page is one
 * answer (rule 7 opens no other path). Its CSP allows those two by their SHA-256 and nothing else inline.
 */
export function loadDocument(name: string, basePath: string): Document {
  const page = readPackageText(`web/${name}.html`)
  const style = readPackageText(`web/${name}.css`)
  const script = readPackageText(`web/${name}.js`)
  const policy = [
    "default-src 'none'",
    "base-uri 'none'",
    "connect-src 'self'",
    "form-action 'self'",
    "frame-ancestors 'none'",
    'img-src data:',
    `script-src '${sha256(script)}'`,
    `style-src '${sha256(style)}'`,
  ].join('; ')

  return {
    answer(status, block, given, headers = []) {
      const values: Readonly<Record<string, string>> = { base: basePath, ...given }
      const body = page
        .replace(BLOCK, (_, its: string, inner: string) => (its === block ? inner : ''))
        .replace(FLAG, (_, attribute: string, key: string) => (values[key] ? ` ${attribute}` : ''))
        .replace(PLACE, (_, key: string) => escapeHtml(values[key] ?? ''))
        .replace(`<link rel="stylesheet" href="${name}.css">`, () => `<style>${style}</style>`)
        .replace(`<script src="${name}.js"></script>`, () => `<script>${script}</script>`)
      const type = ['Content-Type', 'text/html; charset=utf-8', 'Content-Security-Policy', policy]
      return { status, headers: [...type, ...OWN_HEADERS, ...headers], body }
    },
  }
}

const BLOCK = /<!--begin ([\w-]+)-->\n?([\s\S]*?)<!--end \1-->\n?/g
/** `checked="{{?name}}"`: the bare attribute, or none where the value is empty. */
const FLAG = / ([\w-]+)="\{\{\?([\w-]+)\}\}"/g
const PLACE = /\{\{([\w-]+)\}\}/g

function sha256(text: string): string {
  return `sha256-${createHash('sha256').update(text).digest('base64')}`
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (char) => ENTITIES[char]!)
}
