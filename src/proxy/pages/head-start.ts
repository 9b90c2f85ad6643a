/**
 * Where a script becomes the first in the head of a page (as latin1): after its `<head>` tag, or where the parser would put
 * one in, before the first tag or text that no `<html>` and `<head>` precede. It reads as the HTML standard's tokenizer does
 * (13.2.5), so that nothing in a comment, an attribute, a title or a script is taken for a tag; what the end of the page
 * cuts off is not stepped over.
 */
export function headStart(page: string): number {
  let at = page.startsWith('\u00ef\u00bb\u00bf') ? 3 : 0
  for (;;) {
    at = after(BLANKS, page, at) ?? at
    const name = match(TAG_NAME, page, at)?.toLowerCase()
    const end = name === undefined ? commentEnd(page, at) : tagEnd(page, at + name.length)
    if (end === undefined) return at
    if (name === '<head') return end
    if (name !== undefined && name !== '<html' && !isIgnored(name)) return at
    at = end
  }
}

const BLANKS = /[\t\n\f\r ]*/y
const TAG_NAME = /<\/?[a-z][^\t\n\f\r />]*/iy
const BETWEEN_ATTRIBUTES = /[\t\n\f\r /]*/y
const ATTRIBUTE_NAME = /=?[^\t\n\f\r />=]*/y
const EQUALS = /[\t\n\f\r ]*=[\t\n\f\r ]*/y
const BARE_VALUE = /[^\t\n\f\r >]*/y
/** `<!-->` and `<!--->` are whole. */
const SHORT_COMMENT = /<!---?>/y
const COMMENT_END = /--!?>/g

/** Before a head an end tag is nothing, but for these, which put one in. */
function isIgnored(name: string): boolean {
  return name.startsWith('</') && !['</head', '</body', '</html', '</br'].includes(name)
}

/** Behind a comment, a doctype, or what the standard calls a bogus comment; undefined where none stands, or it never ends. */
function commentEnd(page: string, at: number): number | undefined {
  if (page.startsWith('<!--', at)) {
    const short = after(SHORT_COMMENT, page, at)
    if (short !== undefined) return short
    COMMENT_END.lastIndex = at + 4
    return COMMENT_END.exec(page) === null ? undefined : COMMENT_END.lastIndex
  }
  const opened = ['<!', '<?', '</'].some((mark) => page.startsWith(mark, at))
  const end = opened ? page.indexOf('>', at + 2) : -1
  return end === -1 ? undefined : end + 1
}

/** Behind the `>` of a tag whose name ends at `at`: one in a quoted value is no end. */
function tagEnd(page: string, at: number): number | undefined {
  let here = at
  for (;;) {
    here = after(BETWEEN_ATTRIBUTES, page, here) ?? here
    if (here >= page.length) return undefined
    if (page[here] === '>') return here + 1
    here = after(ATTRIBUTE_NAME, page, here) ?? here
    const value = after(EQUALS, page, here)
    if (value === undefined) continue
    const quote = page[value]
    if (quote !== '"' && quote !== "'") here = after(BARE_VALUE, page, value) ?? value
    else {
      const close = page.indexOf(quote, value + 1)
      if (close === -1) return undefined
      here = close + 1
    }
  }
}

function match(sticky: RegExp, page: string, at: number): string | undefined {
  sticky.lastIndex = at
  return sticky.exec(page)?.[0]
}

function after(sticky: RegExp, page: string, at: number): number | undefined {
  const found = match(sticky, page, at)
  return found === undefined ? undefined : at + found.length
}
