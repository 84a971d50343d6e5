/**
 * Tells whether text holds the start of a placeholder in another letter case or encoding (threat-model.md C5).
 *
 * Nothing here decodes for use: what is found refuses the request, because an upstream may decode what we would not swap.
 * Covered: letter case; percent-encoding of any part, up to four times over; JSON \u and HTML character references; UTF-16
 * written in percent; hexadecimal; base64 and base64url at each of the three alignments. Not covered, and stated in the
 * docs: other encodings (gzip, base32, rot13 …), encodings inside encodings, a placeholder spread over several places.
 */

// The anchor and the letter of its kind, as they stand in base64 when 0, 1 or 2 bytes of their group come before them: the
// characters that depend on nothing else. None is + or /, so base64url is the same text.
const BASE64 = 'eGNsa19[yz]|hjbGtfc|4Y2xrX3'
const HEX = '[57]8[46]3[46][cC][46][bB]5[fF]7[23]'

const SIGNS = /[xX][cC][lL][kK]_|eGNsa19|hjbGtfc|4Y2xrX3|[57]8[46]3[46][cC]|%|\\u|&#/
const ESCAPES = /%|\\u|&#/
const ENCODED = new RegExp(`${BASE64}|${HEX}`)
const OTHER_CASE = /(?!xclk_[rs])[xX][cC][lL][kK]_[rRsS]/
const ESCAPED = escapedInAnyWay()

/** A cheap test of every piece of a head: false means that it holds neither a placeholder nor a disguised one. */
export function mayHoldPlaceholder(text: string): boolean {
  return SIGNS.test(text)
}

/** Tells whether `text` holds a placeholder's start spelled in any other way than the plain one. */
export function holdsDisguise(text: string): boolean {
  return OTHER_CASE.test(text) || ENCODED.test(text) || (ESCAPES.test(text) && ESCAPED.test(text))
}

function escapedInAnyWay(): RegExp {
  const utf16 = '(?:%(?:25){0,3}00)?'
  const anchor = [...'xclk_'].map(waysToWrite).join(utf16)
  return new RegExp(`(?!xclk_[rs])${anchor}${utf16}(?:${waysToWrite('r')}|${waysToWrite('s')})`)
}

// One character: itself, %78 (also %2578 …), \u0078, &#120; or &#x78; — in either letter case.
function waysToWrite(character: string): string {
  const both = [character.toLowerCase(), character.toUpperCase()]
  const codes = both.map(each => each.charCodeAt(0))
  const hex = `(?:${codes.map(code => inAnyCase(code.toString(16))).join('|')})`
  const references = `&#(?:[xX]0{0,4}${hex}|0{0,4}(?:${codes.join('|')}));?`
  return `(?:[${both.join('')}]|%(?:25){0,3}${hex}|\\\\u00${hex}|${references})`
}

function inAnyCase(hexDigits: string): string {
  return hexDigits.replace(/[a-f]/g, digit => `[${digit}${digit.toUpperCase()}]`)
}
