import type { Question } from './client.ts'
import { type Asked, answerWell } from './upstream.ts'

/** One way in which an upstream goes wrong with a plain request, as docs/faults.md names it. */
export interface HttpFault {
  readonly answer: (asked: Asked) => void
  /** Default: GET /queue. */
  readonly question?: Question
  /** Bytes that no client may ever get; default: `evil`. */
  readonly never?: RegExp
  /** What a whole answer's body must be. */
  readonly body?: string | RegExp
}

const OK = 'HTTP/1.1 200 OK\r\n'
const WHOLE = `${OK}Content-Length: 2\r\n\r\nok`
const EVIL = `${OK}X-Evil: 1\r\nContent-Length: 4\r\n\r\nevil`

/** Writes these bytes and leaves the connection open. */
const says =
  (text: string): HttpFault['answer'] =>
  ({ socket }) =>
    socket.write(Buffer.from(text, 'latin1'))

/** Writes these bytes, then closes. */
const closesAfter =
  (text: string): HttpFault['answer'] =>
  ({ socket }) =>
    socket.end(Buffer.from(text, 'latin1'))

/** Writes these bytes, then breaks the connection with a RST. */
const resetsAfter =
  (text: string): HttpFault['answer'] =>
  ({ socket }) =>
    socket.write(Buffer.from(text, 'latin1'), () => setTimeout(() => socket.resetAndDestroy(), 20))

/** A piece every `everyMs` until the other side has gone, or `times` pieces. */
function trickle({ socket }: Asked, piece: string, everyMs: number, times = Number.POSITIVE_INFINITY, last = ''): void {
  let left = times
  const timer = setInterval(() => {
    if (left-- > 0) socket.write(piece)
    else socket.write(last)
    if (left < 0) clearInterval(timer)
  }, everyMs)
  socket.on('close', () => clearInterval(timer))
}

const MANY = Array.from({ length: 10_000 }, (_, i) => `h${i.toString(36)}:\r\n`).join('')

/** By the first cell of their row. */
export const HTTP_FAULTS: Readonly<Record<string, HttpFault>> = {
  'closes without a word': { answer: closesAfter('') },
  'breaks the connection (RST) without a word': { answer: ({ socket }) => socket.resetAndDestroy() },
  'never answers': { answer: () => {} },
  'falls silent in its head': { answer: says(`${OK}Content-Le`) },
  'closes in its head': { answer: closesAfter(`${OK}Content-Le`) },
  'falls silent in its body': { answer: says(`${OK}Content-Length: 100\r\n\r\nhalf`) },
  'closes short of its Content-Length': { answer: closesAfter(`${OK}Content-Length: 100\r\n\r\nhalf`) },
  'resets short of its Content-Length': { answer: resetsAfter(`${OK}Content-Length: 100\r\n\r\nhalf`) },
  'closes within a chunk': { answer: closesAfter(`${OK}Transfer-Encoding: chunked\r\n\r\n64\r\nhalf`) },
  'closes between two chunks': { answer: closesAfter(`${OK}Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n`) },
  'closes before the end of the last chunk': {
    answer: closesAfter(`${OK}Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n`),
  },
  'closes a body without any length': { answer: closesAfter(`${OK}\r\nhalf`), body: 'half' },
  'resets a body without any length': { answer: resetsAfter(`${OK}\r\nhalf`) },
  'closes in the index page': {
    answer: closesAfter(`${OK}Content-Type: text/html\r\nContent-Length: 100\r\n\r\n<html>`),
    question: { path: '/' },
  },
  'closes in the answer to a prompt': {
    answer: closesAfter(`${OK}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"prompt_id"`),
    question: { method: 'POST', path: '/prompt', body: '{}' },
  },
  'sends 102 and 103 before its answer': {
    answer: says(`HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </evil>\r\n\r\n${WHOLE}`),
    body: 'ok',
  },
  'sends 100 Continue to a request that asked for none': { answer: says(`HTTP/1.1 100 Continue\r\n\r\n${WHOLE}`) },
  'sends 50 informational heads before its answer': {
    answer: says(`${'HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(50)}${WHOLE}`),
    body: 'ok',
  },
  'sends informational heads without end': {
    answer: (asked) => trickle(asked, 'HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(20), 5),
  },
  'switches protocols unasked (101)': {
    answer: says(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n${EVIL}`),
  },
  'sends 204 with a body': { answer: says(`HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nevil`), body: '' },
  'sends 204 with another answer as its body': {
    answer: says(`HTTP/1.1 204 No Content\r\nContent-Length: ${EVIL.length}\r\n\r\n${EVIL}`),
    body: '',
  },
  'sends 304 with a body': { answer: says(`HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nevil`), body: '' },
  'answers HEAD with a body': {
    answer: says(`${OK}Content-Length: 4\r\n\r\nevil`),
    question: { method: 'HEAD' },
    body: '',
  },
  'answers HEAD with another answer as its body': {
    answer: says(`${OK}Content-Length: ${EVIL.length}\r\n\r\n${EVIL}`),
    question: { method: 'HEAD' },
    body: '',
  },
  'sends more than its Content-Length': { answer: says(`${WHOLE}evil evil evil`), body: 'ok' },
  'sends a second answer at once': { answer: says(`${WHOLE}${EVIL}`), body: 'ok' },
  'sends two different Content-Lengths': { answer: says(`${OK}Content-Length: 2\r\nContent-Length: 4\r\n\r\nevil`) },
  'sends a list of Content-Lengths': { answer: says(`${OK}Content-Length: 2, 4\r\n\r\nevil`) },
  'sends a negative Content-Length': { answer: says(`${OK}Content-Length: -4\r\n\r\nevil`) },
  'sends a Content-Length beyond 64 bits': {
    answer: says(`${OK}Content-Length: 99999999999999999999999\r\n\r\nevil`),
  },
  'sends a Content-Length of 1 EiB and closes': {
    answer: closesAfter(`${OK}Content-Length: 1152921504606846976\r\n\r\nhalf`),
  },
  'sends a Content-Length that is no number': { answer: says(`${OK}Content-Length: 0x4\r\n\r\nevil`) },
  'sends Content-Length and chunked together': {
    answer: says(`${OK}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n`),
  },
  'sends a Transfer-Encoding of its own': { answer: closesAfter(`${OK}Transfer-Encoding: gzip\r\n\r\nhalf`) },
  'sends chunked twice': { answer: says(`${OK}Transfer-Encoding: chunked, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n`) },
  'sends a chunk size that is no number': {
    answer: says(`${OK}Transfer-Encoding: chunked\r\n\r\nzz\r\nevil\r\n0\r\n\r\n`),
  },
  'sends a negative chunk size': { answer: says(`${OK}Transfer-Encoding: chunked\r\n\r\n-4\r\nevil\r\n0\r\n\r\n`) },
  'sends a chunk size beyond 64 bits': {
    answer: says(`${OK}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nevil\r\n0\r\n\r\n`),
  },
  'sends a chunk longer than its size': {
    answer: says(`${OK}Transfer-Encoding: chunked\r\n\r\n2\r\nokevil\r\n0\r\n\r\n`),
  },
  'sends a folded header': { answer: says(`${OK}X-A: b\r\n evil\r\nContent-Length: 2\r\n\r\nok`) },
  'ends its lines with LF alone': { answer: says('HTTP/1.1 200 OK\nX-A: evil\nContent-Length: 4\n\nevil') },
  'sends NUL in a header': { answer: says(`${OK}X-A: a\x00evil\r\nContent-Length: 2\r\n\r\nok`) },
  'sends a bare CR in a header': { answer: says(`${OK}X-A: a\rX-B: evil\r\nContent-Length: 2\r\n\r\nok`) },
  'sends a control character in a header': { answer: says(`${OK}X-A: a\x01evil\r\nContent-Length: 2\r\n\r\nok`) },
  'sends a blank before the colon of a header': { answer: says(`${OK}X-A : evil\r\nContent-Length: 2\r\n\r\nok`) },
  'sends a header without a name': { answer: says(`${OK}: evil\r\nContent-Length: 2\r\n\r\nok`) },
  'sends a line that is no header': { answer: says(`${OK}evil\r\nContent-Length: 2\r\n\r\nok`) },
  'sends a control character in its status text': {
    answer: says('HTTP/1.1 200 evil\x01evil\r\nContent-Length: 2\r\n\r\nok'),
    body: 'ok',
  },
  'sends a head of 70 KiB': { answer: says(`${OK}X: ${'evil'.repeat(17_500)}\r\nContent-Length: 2\r\n\r\nok`) },
  'sends a head without end': { answer: (asked) => trickle(asked, 'X: evil\r\n'.repeat(1_000), 1) },
  'sends 10,000 headers': { answer: says(`${OK}${MANY}Content-Length: 2\r\n\r\nok`), body: 'ok' },
  'sends a status that is no number': { answer: says('HTTP/1.1 OK 200\r\nContent-Length: 4\r\n\r\nevil') },
  'sends a status of four digits': { answer: says('HTTP/1.1 2000 OK\r\nContent-Length: 4\r\n\r\nevil') },
  'sends a status below 100': { answer: says('HTTP/1.1 099 Low\r\nContent-Length: 4\r\n\r\nevil') },
  'sends a status of 999': { answer: says('HTTP/1.1 999 High\r\nContent-Length: 2\r\n\r\nok') },
  'answers as HTTP/3.0': { answer: says('HTTP/3.0 200 OK\r\nContent-Length: 4\r\n\r\nevil') },
  'answers as HTTP/1.0': { answer: closesAfter('HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok'), body: 'ok' },
  'answers as HTTP/0.9': { answer: closesAfter('<html>evil</html>') },
  'speaks no HTTP': { answer: says('SSH-2.0-evil\r\n') },
  'refuses an upload in its middle (413) and reads on': {
    answer: says('HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\n\r\nlong'),
    question: { method: 'POST', path: '/upload/image', body: 'x'.repeat(300_000) },
    body: 'long',
  },
  'refuses an upload in its middle (413) and closes': {
    answer: closesAfter('HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\n\r\nlong'),
    question: { method: 'POST', path: '/upload/image', body: 'x'.repeat(300_000) },
    body: 'long',
  },
  'refuses an upload in its middle (413) and resets': {
    answer: ({ socket }) =>
      socket.write('HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\n\r\nlong', () => socket.resetAndDestroy()),
    question: { method: 'POST', path: '/upload/image', body: 'x'.repeat(3_000_000) },
  },
  'never ends its answer, whose client leaves': {
    answer: ({ socket }) => {
      const more = () => {
        while (!socket.destroyed && socket.write(Buffer.alloc(65_536)));
      }
      socket.write(`${OK}\r\n`)
      socket.on('drain', more)
      more()
    },
    question: { leavesAfterBytes: 128 * 2 ** 20 },
  },
  'sends its answer one byte at a time': {
    answer: (asked) => {
      asked.socket.write(`${OK}Content-Length: 12\r\n\r\n`)
      trickle(asked, 'o', 150, 11, 'k')
    },
    body: 'oooooooooook',
  },
  'keeps the next answer ready before it is asked': {
    answer: (asked) => {
      answerWell(asked)
      setTimeout(() => asked.socket.write(EVIL), 50)
    },
  },
}
