/**
 * The guards, each with the edit that takes it away and the tests that must then fail.
 *
 * A guard that is not in here is a guard that may be lost unnoticed: whoever writes one adds a row. `find` must stand in `file`
 * exactly as it is here (all occurrences are replaced), so a change of the guard's line is a change of its row too. `tests` are
 * the fastest that notice.
 */

// biome-ignore-all lint/suspicious/noTemplateCurlyInString: pieces of source code

export type Mutant = {
  readonly name: string
  readonly file: string
  readonly find: string
  readonly replace: string
  readonly tests: readonly string[]
}

const DESTINATION = ['test/attacks/destination.test.ts']
const REQUEST = ['test/attacks/request.test.ts']
const PLACEHOLDER = ['test/attacks/placeholder.test.ts']
const IDENTITY = ['test/attacks/identity.test.ts']
const RESPONSE = ['test/attacks/response.test.ts']
const OPERATIONS = ['test/attacks/operations.test.ts']
const DECIDE = ['test/policy/decide.test.ts']

export const MUTANTS: readonly Mutant[] = [
  // Destination (security.md A).
  {
    name: 'Host inside a tunnel is not compared',
    file: 'src/proxy/validate.ts',
    find: "if (host !== undefined && !agrees(host, tunnel)) throw new CloakroomError('REQUEST_MISDIRECTED', {})",
    replace: '',
    tests: DESTINATION,
  },
  {
    name: 'an absolute target inside a tunnel is not compared',
    file: 'src/proxy/validate.ts',
    find: "if (!sameTarget(absolute.target, tunnel)) throw new CloakroomError('REQUEST_MISDIRECTED', {})",
    replace: '',
    tests: DESTINATION,
  },
  {
    name: 'two Host headers are taken',
    file: 'src/proxy/validate.ts',
    find: 'if (hosts.length > 1 || isMissing)',
    replace: 'if (isMissing)',
    tests: DESTINATION,
  },
  {
    name: 'any server name is served',
    file: 'src/tls/terminate.ts',
    find: 'return serverName === undefined || parseHost(serverName) === host',
    replace: 'return host.length > 0 || serverName === undefined',
    tests: ['test/tls/terminate.test.ts'],
  },
  {
    name: 'a wildcard covers more than one label',
    file: 'src/policy/compiled.ts',
    find: 'return parent === undefined ? [host] : [host, `*.${parent}`]',
    replace: "return parent === undefined ? [host] : [host, `*.${host.split('.').slice(-2).join('.')}`]",
    tests: ['test/policy/compile.test.ts', ...DECIDE],
  },
  {
    name: "any port is the rule's port",
    file: 'src/policy/compiled.ts',
    find: ':${target.port}`',
    replace: ':443`',
    tests: DECIDE,
  },
  {
    name: 'a credential goes over http',
    file: 'src/policy/decide.ts',
    find: "if (ask.target.scheme !== 'https') return 'target_not_secure' // A9",
    replace: '',
    tests: DECIDE,
  },
  {
    name: 'the URL class reads the target',
    file: 'src/proxy/validate.ts',
    find: "if (received.rawTarget.startsWith('/')) return { target: tunnel, path: received.rawTarget }",
    replace:
      "if (received.rawTarget.startsWith('/')) return { target: { ...tunnel, host: new URL(received.rawTarget, 'https://' + tunnel.host).hostname }, path: new URL(received.rawTarget, 'https://' + tunnel.host).pathname }",
    tests: REQUEST,
  },
  {
    name: 'a target may start with two slashes',
    file: 'src/http1/grammar.ts',
    find: "return path.startsWith('/') && !path.startsWith('//') && isAll(TARGET, path)",
    replace: "return path.startsWith('/') && isAll(TARGET, path)",
    tests: ['test/http1/head.test.ts', 'test/http1/write.test.ts'],
  },
  {
    name: 'the host list sealed with a secret does not count',
    file: 'src/policy/decide.ts',
    find: "if (!info.targets.includes(formatTarget(ask.target))) return 'placeholder_for_other_target'",
    replace: '',
    tests: DECIDE,
  },
  {
    name: 'metadata addresses may be allowed',
    file: 'src/net/address.ts',
    find: "if (kind === 'metadata') return { ok: false, kind }",
    replace: '',
    tests: ['test/net/address.test.ts'],
  },
  {
    name: 'our own listeners may be dialled',
    file: 'src/net/address.ts',
    find: 'if (isOwnListener(address, port, options.ownListeners(), local))',
    replace: 'if (isOwnListener(address, -1, options.ownListeners(), local))',
    tests: ['test/net/address.test.ts'],
  },
  {
    name: 'only the first answer of DNS is checked',
    file: 'src/net/resolve.ts',
    find: 'return endpoints.map(endpoint => ({ ...endpoint, allowed: checked(endpoint, target, options.guard) }))',
    replace:
      "return endpoints.map((endpoint, i) => ({ ...endpoint, allowed: i > 0 ? 'public' : checked(endpoint, target, options.guard) }))",
    tests: ['test/net/dial.test.ts'],
  },
  {
    name: 'upstream certificates are not verified',
    file: 'src/net/dial.ts',
    find: 'rejectUnauthorized: true',
    replace: 'rejectUnauthorized: false',
    tests: ['test/net/dial.test.ts'],
  },
  {
    name: 'our own CA is trusted upstream',
    file: 'src/tls/trust.ts',
    find: '.filter(pem => !isOwn(pem))',
    replace: '.filter(pem => isOwn(pem) || true)',
    tests: ['test/tls/trust.test.ts'],
  },
  {
    name: 'the connection stays open after a refused CONNECT',
    file: 'src/proxy/connect.ts',
    find: '  exchange.mustClose = true\n',
    replace: '',
    tests: DESTINATION,
  },
  {
    name: 'the connection stays open after a refused inner CONNECT',
    file: 'src/proxy/outcome.ts',
    find: "  'REQUEST_METHOD',\n",
    replace: '',
    tests: DESTINATION,
  },
  {
    name: 'upstream connections are shared between credentials and tenants',
    file: 'src/proxy/exchange.ts',
    find: "return [permit.tenant ?? '', permit.terms.rule, formatTarget(target), ...secrets.sort()].join('\\n')",
    replace: 'return [permit.terms.rule, formatTarget(target), secrets.length].join()',
    tests: ['test/flows/keep-alive.test.ts'],
  },
  {
    name: 'bytes on an idle upstream connection are no matter',
    file: 'src/net/pool.ts',
    find: "socket.on('data', onBytes).on('end', onClosed)",
    replace: "socket.on('data', () => undefined).on('end', onClosed)",
    tests: ['test/net/pool.test.ts'],
  },

  // Paths, methods, headers, framing (B, C10, E).
  {
    name: 'dot segments pass',
    file: 'src/policy/path.ts',
    find: 'return mayHoldDots(bare) && spellings(bare).some(hasDotSegment)',
    replace: 'return mayHoldDots(bare) && false',
    tests: ['test/policy/path.test.ts'],
  },
  {
    name: 'ambiguous paths are compared',
    file: 'src/policy/path.ts',
    find: "if (path.includes('//') || path.includes(';')) return true",
    replace: '',
    tests: ['test/policy/path.test.ts'],
  },
  {
    name: 'TRACE is forwarded',
    file: 'src/proxy/validate.ts',
    find: "if (NEVER_FORWARDED.has(method)) throw new CloakroomError('REQUEST_METHOD', {})",
    replace: '',
    tests: REQUEST,
  },
  {
    name: 'OPTIONS carries credentials',
    file: 'src/policy/decide.ts',
    find: " || ask.method === 'OPTIONS'",
    replace: '',
    tests: DECIDE,
  },
  {
    name: 'headers that re-route pass with a credential',
    file: 'src/proxy/arm.ts',
    find: 'new Set([...METHOD_OVERRIDES, ...ROUTE_OVERRIDES])',
    replace: 'new Set([...METHOD_OVERRIDES])',
    tests: REQUEST,
  },
  {
    name: 'method overrides pass',
    file: 'src/proxy/arm.ts',
    find: "const METHOD_OVERRIDES = ['x-http-method-override', 'x-http-method', 'x-method-override']",
    replace: "const METHOD_OVERRIDES = ['x-http-method-override']",
    tests: REQUEST,
  },
  {
    name: 'hop-by-hop headers are copied',
    file: 'src/proxy/arm.ts',
    find: 'stripRequest(head.headers).filter(',
    replace: 'head.headers.filter(',
    tests: REQUEST,
  },
  {
    name: 'a sensitive header may be nominated',
    file: 'src/proxy/hop-by-hop.ts',
    find: "if (SENSITIVE.has(name) || name.startsWith('cloakroom-'))",
    replace: "if (name === '')",
    tests: REQUEST,
  },
  {
    name: 'X_Api_Key passes beside X-Api-Key',
    file: 'src/proxy/arm.ts',
    find: '  refuseDoubles(stripped, permit)\n',
    replace: '',
    tests: REQUEST,
  },
  {
    name: 'a repeated header may hold a placeholder',
    file: 'src/swap/find.ts',
    find: 'return headerValues(headers, lower).length > 1',
    replace: 'return headerValues(headers, lower).length > 99',
    tests: ['test/swap/find.test.ts'],
  },
  {
    name: 'Content-Length and Transfer-Encoding together',
    file: 'src/http1/framing.ts',
    find: "if (length !== undefined) return ambiguous(side, 'Content-Length and Transfer-Encoding')",
    replace: '',
    tests: ['test/http1/head.test.ts', 'test/http1/corpus.test.ts'],
  },
  {
    name: 'a lone LF ends a line',
    file: 'src/http1/fields.ts',
    find: "if (text.charCodeAt(end) !== CR) return malformed(side, 'bare LF')",
    replace: '',
    tests: ['test/http1/head.test.ts', 'test/http1/corpus.test.ts'],
  },
  {
    name: 'every trailer is carried',
    file: 'src/http1/trailers.ts',
    find: 'return FORBIDDEN.has(folded) ||',
    replace: "return folded === '' ||",
    tests: ['test/http1/body.test.ts', 'test/proxy/parts.test.ts'],
  },

  // Placeholders and values (C).
  {
    name: 'a value is put in with String.replace',
    file: 'src/swap/head.ts',
    find: 'return text.slice(0, place.from) + credentialFor(place.placeholder, location, work)',
    replace: 'return text.replace(text.slice(place.from), credentialFor(place.placeholder, location, work))',
    tests: ['test/swap/head.test.ts'],
  },
  {
    name: 'what was put in is looked at again',
    file: 'src/swap/head.ts',
    find: '[name, swapHeader(name, value, work)] as const)',
    replace: '[name, swapHeader(name, swapHeader(name, value, work), work)] as const)',
    tests: ['test/swap/head.test.ts'],
  },
  {
    name: 'any location is allowed',
    file: 'src/policy/decide.ts',
    find: "if (!clauses.some(clause => clause.locations.has(locationKey(location)))) return 'placeholder_misplaced'",
    replace: '',
    tests: DECIDE,
  },
  {
    name: 'a placeholder without its swap leaves',
    file: 'src/swap/head.ts',
    find: "if (found.size !== indexed.size) throw new CloakroomError('SWAP_REFUSED', {})",
    replace: '',
    tests: ['test/swap/head.test.ts'],
  },
  {
    name: 'disguises pass',
    file: 'src/swap/find.ts',
    find: "return holdsDisguise(text) ? [{ placeholder: '', location: undefined }] : []",
    replace: 'return holdsDisguise(text) ? [] : []',
    tests: ['test/swap/find.test.ts'],
  },
  {
    name: 'base64 is read in any spelling',
    file: 'src/base/bytes.ts',
    find: "return bytes.toString('base64') === text ? bytes : undefined",
    replace: 'return bytes',
    tests: ['test/swap/find.test.ts', 'test/swap/head.test.ts'],
  },
  {
    name: 'control characters are put into a header',
    file: 'src/swap/encode.ts',
    find: 'if (byte < SPACE || byte === 0x7f) return true',
    replace: 'if (byte === 0x7f) return true',
    tests: ['test/swap/head.test.ts'],
  },
  {
    name: 'a slash is put into a path',
    file: 'src/swap/encode.ts',
    find: "if (bytes.includes(SLASH) || bytes.includes(BACKSLASH) || bytes.includes('..')) return undefined",
    replace: '',
    tests: ['test/swap/head.test.ts'],
  },
  {
    name: 'bodies are not watched',
    file: 'src/proxy/exchange.ts',
    find: 'guardBody(exchange.inbound.body, createBodyGuard())',
    replace: '(createBodyGuard && guardBody ? exchange.inbound.body : EMPTY)',
    tests: PLACEHOLDER,
  },
  {
    name: 'the start of a placeholder leaves before its end is known',
    file: 'src/swap/guard.ts',
    find: 'return undecided ?? startOfAnchorAtEnd(bytes)',
    replace: 'return undecided ?? bytes.length',
    tests: ['test/swap/guard.test.ts'],
  },
  {
    name: 'trailers are not watched',
    file: 'src/proxy/body.ts',
    find: "if (holdsPlaceholder(trailers)) throw new CloakroomError('SWAP_REFUSED_IN_BODY', {})",
    replace: '',
    tests: ['test/proxy/parts.test.ts', ...PLACEHOLDER],
  },
  {
    name: 'a refused placeholder is told as a denial',
    file: 'src/proxy/exchange.ts',
    find: "if (decision.as === 'refused') throw new CloakroomError('SWAP_REFUSED', {})",
    replace: '',
    tests: PLACEHOLDER,
  },
  {
    name: 'guessing is free',
    file: 'src/proxy/exchange.ts',
    find: '  deps.guesses.check(asked.caller.id) // rulings.md 11: who guesses is not even looked up for\n',
    replace: '',
    tests: PLACEHOLDER,
  },
  {
    name: 'a revocation counts as guesses',
    file: 'src/proxy/open-exchange.ts',
    find: "if (error.code === 'SWAP_REFUSED' && !isCut && this.record.caller !== undefined)",
    replace: "if (error.code === 'SWAP_REFUSED' && this.record.caller !== undefined)",
    tests: PLACEHOLDER,
  },
  {
    name: 'a made-up tenant has a rate of its own',
    file: 'src/proxy/limits.ts',
    find: "const proven = swaps.length > 0 ? (tenant ?? '') : ''",
    replace: "const proven = swaps.length < 99 ? (tenant ?? '') : ''",
    tests: PLACEHOLDER,
  },
  {
    name: 'expired secrets serve',
    file: 'src/policy/decide.ts',
    find: "return info.expiresAt !== undefined && now >= info.expiresAt ? 'secret_expired' : undefined",
    replace: 'return undefined',
    tests: DECIDE,
  },

  // The way back (D).
  {
    name: 'heads are not redacted',
    file: 'src/proxy/protect.ts',
    find: 'const safe = redactor.head(head)',
    replace: 'const safe = { head, count: redactor.head(head).count }',
    tests: RESPONSE,
  },
  {
    name: 'a credential is not found across chunks',
    file: 'src/base/replacer.ts',
    find: 'let limit = more ? firstUndecided(compiled, bytes, 0) : bytes.length',
    replace: 'let limit = more ? bytes.length : bytes.length',
    tests: ['test/base/replacer.test.ts'],
  },
  {
    name: 'coded answers pass unread',
    file: 'src/proxy/protect.ts',
    find: 'if (answer.body.length !== 0 && isCoded(answer.head.headers)) {',
    replace: 'if (answer.body.length === -1 && isCoded(answer.head.headers)) {',
    tests: RESPONSE,
  },
  {
    name: 'plain answers are not asked for',
    file: 'src/proxy/arm.ts',
    find: "...(isRedacted(permit) ? [['Accept-Encoding', 'identity'] as const] : []),",
    replace: '',
    tests: REQUEST,
  },
  {
    name: 'a session made of the credential reaches the app',
    file: 'src/proxy/protect.ts',
    find: "new Set(['set-cookie', 'set-cookie2', 'authentication-info'])",
    replace: 'new Set<string>()',
    tests: RESPONSE,
  },
  {
    name: 'an upstream speaks in our name',
    file: 'src/proxy/hop-by-hop.ts',
    find: 'return kept.filter(([name]) => !OURS.test(name))',
    replace: 'return kept.filter(([name]) => !OURS.test(`${name}!`) || kept.length > 0)',
    tests: RESPONSE,
  },
  {
    name: 'a 407 of an upstream passes',
    file: 'src/proxy/answer-head.ts',
    find: 'if (head.status === 407)',
    replace: 'if (head.status === 0)',
    tests: RESPONSE,
  },

  // Callers and tenants (I).
  {
    name: "tenants see each other's secrets",
    file: 'src/policy/decide.ts',
    find: "if (info.ref.tenant !== tenant || !mayActFor(ask.caller.tenants, tenant)) return 'placeholder_foreign'",
    replace: '',
    tests: DECIDE,
  },
  {
    name: 'a caller acts for any tenant',
    file: 'src/policy/decide.ts',
    find: "return tenants === '*' || tenants.includes(tenant)",
    replace: "return tenants === '*' || tenant.length > 0",
    tests: DECIDE,
  },
  {
    name: 'what cannot be read falls through to the loopback caller',
    file: 'src/identity/identify.ts',
    find: 'if (authorization === undefined) {',
    replace: "if (authorization === undefined || authorization.kind === 'malformed') {",
    tests: ['test/identity/identify.test.ts'],
  },
  {
    name: 'any password is right',
    file: 'src/identity/identify.ts',
    find: 'if (!hasPassword || matches === 0)',
    replace: 'if (!hasPassword)',
    tests: ['test/identity/identify.test.ts'],
  },
  {
    name: 'another identity inside a tunnel is ignored',
    file: 'src/proxy/presented.ts',
    find: 'if (shown !== undefined && !isSame(shown, facts.presented.authorization))',
    replace: 'if (shown !== undefined && isSame(shown, undefined))',
    tests: IDENTITY,
  },
  {
    name: 'what a revoked caller has running goes on',
    file: 'src/app/data-path.ts',
    find: "live.cancel(isForbidden, new CloakroomError('IDENTITY_REVOKED', {}))",
    replace: 'live.cancel(open => isForbidden(open) && false, undefined)',
    tests: IDENTITY,
  },

  // Keys and store (J).
  {
    name: 'nothing is bound to what is sealed',
    file: 'src/keys/aead.ts',
    find: 'cipher.setAAD(associated)',
    replace: 'cipher.setAAD(associated.subarray(0, 0))',
    tests: ['test/keys/primitives.test.ts', 'test/keys/box.test.ts'],
  },
  {
    name: 'the tenant is not bound to what is sealed',
    file: 'src/keys/envelope.ts',
    find: '    binding.tenant,\n',
    replace: '',
    tests: ['test/keys/box.test.ts', 'test/keys/seal-format.test.ts'],
  },
  {
    name: 'the targets are not bound to what is sealed',
    file: 'src/keys/envelope.ts',
    find: '    targetsDigest(binding.targets),\n',
    replace: '',
    tests: ['test/keys/box.test.ts', 'test/keys/seal-format.test.ts'],
  },
  {
    name: 'plaintext is released before its tag is checked',
    file: 'src/keys/aead.ts',
    find: '    plaintext.fill(0) // SECURITY: unverified plaintext is never released (J6)\n    return undefined',
    replace: '    return plaintext',
    tests: ['test/keys/primitives.test.ts'],
  },
  {
    name: 'the MAC of a row is not checked',
    file: 'src/secrets/genuine.ts',
    find: 'if (!isSameMac(version.mac, macOfVersion(key.rowKey, place(secret.tenant), version)))',
    replace: 'if (version.mac.length === 0)',
    tests: ['test/secrets/tamper.test.ts'],
  },

  // Policy files (A8, B6, B9).
  {
    name: 'unknown keys of a policy are ignored',
    file: 'src/policy/schema.ts',
    find: 'v.strictObject(',
    replace: 'v.object(',
    tests: ['test/policy/compile.test.ts', 'test/policy/load.test.ts'],
  },
  {
    name: 'an empty list is taken',
    file: 'src/policy/schema.ts',
    find: "v.minLength(1, 'must not be empty: an empty list allows nothing')",
    replace: 'v.minLength(0)',
    tests: ['test/policy/compile.test.ts', 'test/policy/load.test.ts'],
  },
  {
    name: 'a policy whose own tests fail is adopted',
    file: 'src/policy/load.ts',
    find: 'if (failed.length > 0) {',
    replace: 'if (failed.length > 999) {',
    tests: ['test/policy/load.test.ts'],
  },

  // Audit, log, metrics, withdrawal (K, L).
  {
    name: 'the intent is recorded after the request was sent',
    file: 'src/proxy/exchange.ts',
    find: '    await exchange.intend() // 6. written down before a credential leaves; fails closed\n    const answer = await send(deps, exchange, { permit, outbound: armed.outbound }) // 7. the only outbound socket\n',
    replace:
      '    const answer = await send(deps, exchange, { permit, outbound: armed.outbound })\n    await exchange.intend()\n',
    tests: OPERATIONS,
  },
  {
    name: 'the intent is not waited for',
    file: 'src/proxy/exchange.ts',
    find: 'await exchange.intend() //',
    replace: 'exchange.intend().catch(() => undefined) //',
    tests: OPERATIONS,
  },
  {
    name: 'a full audit queue lets requests pass',
    file: 'src/audit/trail.ts',
    find: "if (this.#state !== 'open' || this.#isStalled || this.#queue.isFull) return this.#refuse()",
    replace: "if (this.#state !== 'open' || this.#isStalled) return this.#refuse()",
    tests: ['test/audit/trail.test.ts'],
  },
  {
    name: 'the audit trail is waited for without an end',
    file: 'src/audit/queue.ts',
    find: 'if (this.#timer === undefined) this.#arm(this.#waitLimit)',
    replace: '',
    tests: ['test/audit/trail.test.ts'],
  },
  {
    name: 'queries are written down',
    file: 'src/proxy/masked.ts',
    find: 'const plain = end < 0 ? path : path.slice(0, end)',
    replace: 'const plain = end < 0 ? path : path.slice(0)',
    tests: ['test/proxy/parts.test.ts', ...OPERATIONS],
  },
  {
    name: 'placeholders in paths are written down',
    file: 'src/proxy/masked.ts',
    find: '  const masked = mayHoldPlaceholder(plain)\n',
    replace: "  if (plain !== '') return plain\n  const masked = mayHoldPlaceholder(plain)\n",
    tests: ['test/proxy/parts.test.ts', 'test/leaks/canary.test.ts'],
  },
  {
    name: 'errors are described by their message',
    file: 'src/base/log.ts',
    find: 'return code === undefined ? cause.name : `${cause.name} ${code}`',
    replace: 'return code === undefined ? cause.message : `${cause.name} ${code}`',
    tests: ['test/api/server.test.ts', 'test/leaks/canary.test.ts'],
  },
  {
    name: 'a metric is labelled with the target',
    file: 'src/metrics/exchanges.ts',
    find: 'this.#routeOf(record.rule)',
    replace: 'this.#routeOf(record.target)',
    tests: ['test/metrics/metrics.test.ts'],
  },
  {
    name: 'a halt leaves running what runs',
    file: 'src/proxy/halt.ts',
    find: "this.#live.cancel(open => covers(halt, open), new CloakroomError('SIDECAR_HALTED', {}))",
    replace: 'this.#live.cancel(open => covers(halt, open) && false, undefined)',
    tests: OPERATIONS,
  },
  {
    name: 'a revocation leaves running what runs',
    file: 'src/app/data-path.ts',
    find: 'live.cancel(open => uses(open, secret),',
    replace: 'live.cancel(open => uses(open, secret) && false,',
    tests: OPERATIONS,
  },
  {
    name: 'an admin answer repeats the name of an unknown member',
    file: 'src/api/operation.ts',
    find: '(isUnknownMember ? names.slice(0, -1) : names)',
    replace: 'names',
    tests: ['test/leaks/canary.test.ts'],
  },
]
