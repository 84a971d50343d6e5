/**
 * Mutants of good messages, from a seed: the same seed gives the same mutants.
 */

/** Numbers from 0 to below `below`. Marsaglia's xorshift32: small, and its sequence never changes with the runtime. */
export type Dice = (below: number) => number

export function diceOf(seed: number): Dice {
  let state = (seed << 1) | 1 // never 0, from which there is no way out
  return below => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % below
  }
}

/** Good messages with everything in them that a mutation could break. */
export const SEEDS: readonly string[] = [
  'GET / HTTP/1.1\r\nHost: a.example\r\n\r\n',
  'GET /a?b=c HTTP/1.0\r\nHost:a.example\r\nA: \t b c \r\nB:\r\n\r\n',
  'POST /p HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\n\r\n',
  'POST /p HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n00a;b="c"\r\n0123456789\r\n0\r\n\r\n',
  'PUT /q HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Sum: a\r\nY: b\r\n\r\nrest',
  'CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\nContent-Length: 0\r\n\r\n\x16\x03',
  'OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n',
  'GET https://a.example:8443/x?y HTTP/1.1\r\nHost: a.example:8443\r\n\r\n',
  'DELETE /d HTTP/1.1\r\ncontent-length: 11\r\nX: 0\r\n\r\nhello world',
]

// What smugglers put in: blanks, line ends, controls, digits, whole headers.
const PIECES = [
  ...[
    '\r',
    '\n',
    '\r\n',
    '\n\r',
    '\r\n\r\n',
    '\n\n',
    ' ',
    '\t',
    '\v',
    '\f',
    '\0',
    '\x7f',
    '\x80',
    '\xa0',
    '\xff',
  ],
  ...[':', ';', ',', '"', '=', '/', '\\', '#', '?', '%', '_', '-', '+', '0', '5', 'a', 'A', '0x', '00'],
  ...[
    '\r\nContent-Length: 5',
    '\r\nContent-Length: 0',
    '\r\nTransfer-Encoding: chunked',
    '\r\nA: b',
    '\r\n A: b',
  ],
  ...[
    'chunked',
    'identity',
    'HTTP/1.1',
    'HTTP/1.0',
    'HTTP/2.0',
    'GET',
    'CONNECT',
    '5\r\nhello\r\n',
    '0\r\n\r\n',
  ],
]

/** One to four small changes: insert, delete, replace, copy from elsewhere, change one bit or the case of a letter. */
export function mutantOf(seed: string, dice: Dice): string {
  let text = seed
  for (let changes = 1 + dice(4); changes > 0; changes--) text = changed(text, dice)
  return text
}

function changed(text: string, dice: Dice): string {
  const at = dice(text.length + 1)
  const length = 1 + dice(3)
  const piece = PIECES[dice(PIECES.length)] ?? ''
  switch (dice(6)) {
    case 0:
      return text.slice(0, at) + piece + text.slice(at)
    case 1:
      return text.slice(0, at) + text.slice(at + length)
    case 2:
      return text.slice(0, at) + piece + text.slice(at + length)
    case 3: {
      const from = dice(text.length + 1)
      return text.slice(0, at) + text.slice(from, from + dice(30)) + text.slice(at)
    }
    case 4: {
      const flipped = String.fromCharCode((text.charCodeAt(at) ^ (1 << dice(8))) & 0xff)
      return text.slice(0, at) + flipped + text.slice(at + 1)
    }
    default:
      return (
        text.slice(0, at) +
        text.slice(at, at + 1).replace(/[a-z]/, letter => letter.toUpperCase()) +
        text.slice(at + 1)
      )
  }
}
