/**
 * What may be put into a store: values, shapes, targets, times.
 *
 * Rule of this file: refused at the door, and by name, is better than refused at the first request. Texts never quote a value.
 */
import { CloakroomError } from '../base/errors.ts'
import { kib } from '../base/size.ts'
import { formatTarget, parseTarget } from '../model/target.ts'
import { isName } from '../model/tenant.ts'
import { scanPlaceholders } from '../swap/placeholder.ts'
import type { PutRequest } from './store.ts'

const MAX_VALUE = kib(64)
// Shorter values cannot be looked for in answers without finding them everywhere (rulings.md 26).
const SHORTEST_REDACTED = 8
const SHAPE = /^[A-Za-z0-9_.-]{0,32}$/
const PLACEHOLDER_START = 'xclk_'
// AAD and list grow with them, and nobody reads a longer list.
const MAX_TARGETS = 64

/** Checks all of a request that can be checked without the store. @throws SECRET_INVALID */
export function checkPut(request: PutRequest, now: number): void {
  if (!isName(request.name))
    refuse('a name is a-z, 0-9 and . _ - (at most 63), starting with a letter or digit')
  checkValue(request.value, request.force === true)
  if (request.shape !== undefined) checkShape(request.shape)
  const { expiresAt, notBefore } = request
  if (expiresAt !== undefined && expiresAt !== null) {
    if (!isTime(expiresAt)) refuse('the expiry is not a time')
    if (expiresAt <= now) refuse('the expiry has passed')
    if (notBefore !== undefined && notBefore >= expiresAt) refuse('it would expire before it becomes valid')
  }
  if (notBefore !== undefined && !isTime(notBefore)) refuse('the start of validity is not a time')
}

/** Reads targets into the form that is sealed: formatTarget, sorted, each once. @throws SECRET_INVALID */
export function acceptTargets(texts: readonly string[]): readonly string[] {
  const targets = texts.map(text => {
    const target = parseTarget(text)
    if (target === undefined) return refuse('a target is https://host or https://host:port')
    // rulings.md 5: a credential is never sent in the clear.
    if (target.scheme !== 'https') return refuse('a secret is sent over https only')
    return formatTarget(target)
  })
  if (targets.length > MAX_TARGETS) refuse(`a secret has at most ${MAX_TARGETS} targets`)
  return [...new Set(targets)].sort()
}

function checkValue(value: Buffer, force: boolean): void {
  if (value.length === 0) refuse('the value is empty')
  if (value.length > MAX_VALUE) refuse(`the value is longer than ${MAX_VALUE} bytes`)
  // The most likely mistake of a first day, and one that would send a placeholder to an upstream (threat-model.md C11).
  if (scanPlaceholders(value.toString('latin1')).length > 0) refuse('the value is a placeholder')
  if (force) return
  if (value.length < SHORTEST_REDACTED)
    refuse(`the value is shorter than ${SHORTEST_REDACTED} bytes; --force takes it, and it is not redacted`)
  // threat-model.md C7: CR, LF and NUL end or split a header; other controls and outer spaces are what a bad paste leaves.
  if (value.some(isControl)) refuse('the value holds control characters; --force takes it')
  if (isSpace(value.at(0)) || isSpace(value.at(-1))) {
    refuse('the value begins or ends with a space; --force takes it')
  }
}

function checkShape(shape: string): void {
  if (!SHAPE.test(shape)) refuse('a shape is at most 32 characters of A-Z a-z 0-9 _ . -')
  if (shape.toLowerCase().includes(PLACEHOLDER_START)) refuse('a shape does not hold a placeholder')
}

/** @throws SECRET_INVALID */
export function refuse(what: string): never {
  throw new CloakroomError('SECRET_INVALID', { what })
}

function isControl(byte: number): boolean {
  return byte < 0x20 || byte === 0x7f
}

function isSpace(byte: number | undefined): boolean {
  return byte === 0x20
}

function isTime(millis: number): boolean {
  return Number.isSafeInteger(millis) && millis >= 0
}
