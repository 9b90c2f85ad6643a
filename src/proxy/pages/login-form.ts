import { safeNext } from './next.ts'

export interface LoginForm {
  /** Less the blanks around it; empty where none came. */
  readonly key: string
  readonly remember: boolean
  /** A safe place to return to, the page where none was named. */
  readonly next: string
}

/** The fields `api_key`, `remember` and `next` of a form or of JSON; whatever cannot be read is no key. */
export function parseLoginForm(body: Uint8Array, contentType: string | undefined, basePath: string): LoginForm {
  const text = new TextDecoder().decode(body)
  const field = contentType?.includes('json') === true ? jsonFields(text) : formFields(text)
  const remember = field('remember')
  return {
    key: field('api_key').trim(),
    remember: remember !== '' && remember !== 'false' && remember !== '0',
    next: safeNext(field('next'), basePath) ?? `${basePath}/`,
  }
}

type Fields = (name: string) => string

function formFields(text: string): Fields {
  const form = new URLSearchParams(text)
  return (name) => form.get(name) ?? ''
}

function jsonFields(text: string): Fields {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return () => ''
  }
  return (name) => {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return ''
    const member: unknown = (value as Record<string, unknown>)[name]
    return typeof member === 'string' || typeof member === 'boolean' ? String(member) : ''
  }
}
