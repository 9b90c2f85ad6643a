import { get, type Row, sendGet } from './row.ts'

const COMPRESSION = ['goaway COMPRESSION_ERROR']

function block(section: string, what: string, hex: string, outcome: readonly string[] = COMPRESSION): Row {
  const bytes = Buffer.from(hex, 'hex')
  return { section, what, outcome, act: (raw) => sendGet(raw, 1, Buffer.concat([get(), bytes])) }
}

/** RFC 7541: header compression, each block a good request with these bytes behind it. */
export const HPACK: readonly Row[] = [
  block('2.3.3', 'an index of neither table', 'c6'), // 70: the dynamic table is empty
  block('2.3.3', "a literal's name by an index of neither table", '7f070161'), // 63 + 7
  block('4.2', 'a change of the table size at the end of a block', '20', ['goaway COMPRESSION_ERROR', 'answer 200']),
  {
    section: '4.2',
    what: 'changes of the table size at the start of a block',
    outcome: ['answer 200'],
    act: (raw) => sendGet(raw, 1, Buffer.concat([Buffer.from('203fe11f', 'hex'), get()])), // 0, then 4,096
  },
  block('5.1', 'an integer that never ends', '7fffffffffffffffffffff'),
  block('5.1', 'an integer above 2^32', '7f8080808080808080807f'),
  block('5.2', 'Huffman padding of more than 7 bits', '00017883ffffff'),
  block('5.2', 'Huffman padding of zeros', '0001788118'),
  block('5.2', 'a Huffman text that holds EOS', '00017884ffffffff'),
  block('5.2', 'a string that is longer than its block', '0001787e61'),
  block('6.1', 'index 0', '80'),
  block('6.2', 'a literal without a value', '000178'),
  {
    section: '6.3',
    what: 'a table above what SETTINGS allow',
    outcome: COMPRESSION,
    act: (raw) => sendGet(raw, 1, Buffer.concat([Buffer.from('3fe2ff03', 'hex'), get()])),
  },
]
