/**
 * One encoding of several fields as bytes: what associated data and MACs are computed over (docs/seal-format.md).
 *
 * Rule of this file: two different lists of fields never give the same bytes, because each field carries its length.
 */

/** Concatenates fields, each behind its length as four bytes, big-endian. Text is UTF-8. */
export function encodeFields(fields: readonly (Uint8Array | string)[]): Buffer {
  let length = 0
  for (const field of fields) length += 4 + byteLength(field)
  const encoded = Buffer.allocUnsafe(length)
  let at = 0
  for (const field of fields) {
    at = encoded.writeUInt32BE(byteLength(field), at)
    if (typeof field === 'string') at += encoded.write(field, at, 'utf8')
    else {
      encoded.set(field, at)
      at += field.length
    }
  }
  return encoded
}

const NOTHING = Buffer.alloc(0)

/** Encodes a whole number as eight bytes, big-endian; undefined as no bytes, which no number is. */
export function encodeNumber(number: number | undefined): Buffer {
  if (number === undefined) return NOTHING
  const encoded = Buffer.allocUnsafe(8)
  encoded.writeUInt32BE(Math.floor(number / 2 ** 32), 0)
  encoded.writeUInt32BE(number % 2 ** 32, 4)
  return encoded
}

function byteLength(field: Uint8Array | string): number {
  return typeof field === 'string' ? Buffer.byteLength(field) : field.length
}
