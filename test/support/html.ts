import fc from 'fast-check'

const blanks = fc.constantFrom('', ' ', '\n', '\t\r\n', '\f')
const decoy = fc.constantFrom(
  '<head>',
  '<html>',
  '>',
  '-- >',
  '<!-- ',
  '<script>',
  '<!doctype x>',
  'x',
  '</head>',
  '=',
  '/',
)
const inside = fc.array(decoy, { maxLength: 4 }).map((parts) => parts.join(''))
const comment = fc.oneof(
  fc.constantFrom('<!-->', '<!--->', '<!---->', '<!>', '<?>', '</>', '</ >', '</p x="<head>">', '<![CDATA[x>'),
  inside.map((text) => `<!-- ${text} -->`),
  inside.map((text) => `<!--${text}--!>`.replace('<!-->', '<!-- >')),
  inside.map((text) => `<?${text.replaceAll('>', '')}>`),
)
const misc = fc.array(fc.oneof(blanks, comment), { maxLength: 4 }).map((parts) => parts.join(''))
const attribute = fc.oneof(
  fc.tuple(fc.constantFrom('="', " = '"), inside).map(([open, text]) => `x${open}${text}${open.at(-1)}`),
  fc.constantFrom('=a', 'x', 'x=y', 'x=<head', '/', '"<head"'),
)
const tag = (name: string) =>
  fc
    .tuple(
      fc.constantFrom(name, name.toUpperCase()),
      fc.array(attribute, { maxLength: 3 }),
      fc.constantFrom('', ' ', ' /'),
    )
    .map(([spelt, attributes, end]) => `<${[spelt, ...attributes].join(' ')}${end}>`)
const maybe = (text: fc.Arbitrary<string>) => fc.oneof(fc.constant(''), text)
const rest = fc.oneof(
  fc.constantFrom('text', '< ', '<1', '</body>', '</br>', '<header>', '<headx>', '<html-x>', '<frameset>'),
  inside.map((text) => `<title>${text}</title>`),
  inside.map((text) => `<script>${text}</script>`),
)

const start = [
  fc.constantFrom('', '\xef\xbb\xbf'),
  misc,
  maybe(fc.constant('<!DOCTYPE html>')),
  misc,
  maybe(tag('html')),
]

/** Pages as the grammar of HTML has them, as latin1, in two: up to where the head begins, and what follows. */
export const pages = fc
  .tuple(fc.tuple(...start, misc), maybe(tag('head')), maybe(fc.tuple(rest, inside).map((parts) => parts.join(''))))
  .map(([before, head, after]) => ({ before: before.join('') + head, after }))
