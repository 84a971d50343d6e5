/**
 * The form of a value that a person may see.
 *
 * Rule of this file: the mask has one length for all values, and shows the last four characters only where what stays hidden is
 * far beyond guessing: at least 28 characters, which at 3.5 bits each are 98 bits.
 */
import type { SecretValue } from '../model/secret.ts'

const HIDDEN = '••••••••'
const SHOWN = 4
const LEAST_HIDDEN = 28

export function maskValue(value: SecretValue): string {
  return value.use(bytes => {
    const end = bytes.subarray(-SHOWN)
    const isLong = bytes.length >= LEAST_HIDDEN + SHOWN
    return isLong && end.every(isWordCharacter) ? HIDDEN + end.toString('latin1') : HIDDEN
  })
}

// A PEM's or JSON's last characters are punctuation and say nothing; letters and digits are what a token ends with.
function isWordCharacter(byte: number): boolean {
  return (byte >= 0x30 && byte <= 0x39) || (byte >= 0x41 && byte <= 0x5a) || (byte >= 0x61 && byte <= 0x7a)
}
