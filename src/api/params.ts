/**
 * The parameters that operations share, in their written form: names, references, targets, values.
 *
 * Rule of this file: what passes here is in normal form. Values come as canonical base64 and become bytes in memory of their own,
 * which the store takes over.
 */
import * as v from 'valibot'
import { decodeCanonicalBase64, ownCopy } from '../base/bytes.ts'
import type { SecretRef } from '../model/secret.ts'
import { formatTarget, parseTarget } from '../model/target.ts'
import { isName, parseTenantId, type TenantId } from '../model/tenant.ts'

const NAME_RULE = 'a name has 1 to 63 of a-z 0-9 . _ - and starts with a letter or digit'

export const name = v.pipe(v.string(), v.check(isName, NAME_RULE))

export const tenant = v.pipe(
  v.string(),
  v.check(isName, NAME_RULE),
  v.transform(text => text as TenantId),
)

/** `tenant/name`. */
export const secretRef = v.pipe(
  v.string(),
  v.check(text => parseSecretRef(text) !== undefined, `must be TENANT/NAME; ${NAME_RULE}`),
  v.transform((text): SecretRef => parseSecretRef(text) ?? { tenant: text as TenantId, name: '' }),
)

/** Milliseconds since 1970. */
export const instant = v.pipe(
  v.number(),
  v.integer('must be whole milliseconds'),
  v.minValue(0, 'must not be negative'),
)

/** `https://host[:port]`, into the form of formatTarget. */
export const target = v.pipe(
  v.string(),
  v.check(
    text => parseTarget(text) !== undefined,
    'must be https://HOST or https://HOST:PORT, without a path',
  ),
  v.transform(text => {
    const parsed = parseTarget(text)
    return parsed === undefined ? text : formatTarget(parsed)
  }),
)

/** Base64 of a value's bytes; its size is the store's to judge. */
export const value = v.pipe(
  v.string(),
  v.check(text => decodeCanonicalBase64(text) !== undefined, 'must be base64'),
  v.transform(text => {
    const bytes = decodeCanonicalBase64(text) ?? Buffer.alloc(0)
    const own = ownCopy(bytes)
    bytes.fill(0) // may be a slice of Node's shared pool (threat-model.md N6)
    return own
  }),
)

/** Reads `tenant/name`; undefined when it is anything else. */
export function parseSecretRef(text: string): SecretRef | undefined {
  const slash = text.indexOf('/')
  const owner = slash < 0 ? undefined : parseTenantId(text.slice(0, slash))
  const rest = text.slice(slash + 1)
  return owner === undefined || !isName(rest) ? undefined : { tenant: owner, name: rest }
}
