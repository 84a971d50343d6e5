/**
 * The shape of a policy file: one source for the loader, the JSON Schema and the reference in docs/policy.md.
 *
 * Rule of this file: closed objects and plain checks only, so that a JSON Schema can be made of it. What no schema can say
 * (grammar of targets, overlaps, known callers) is checked in compile.ts, which also refuses the words of later versions.
 */
import * as v from 'valibot'

const text = (what: string) => v.pipe(v.string(), v.description(what))
const id = (what: string) =>
  v.pipe(
    v.string(),
    v.regex(
      /^[a-z0-9][a-z0-9._-]{0,62}$/,
      'must be a-z 0-9 . _ - starting with a letter or digit, at most 63',
    ),
    v.description(what),
  )
const texts = (what: string) =>
  v.pipe(
    v.array(v.string()),
    v.minLength(1, 'must not be empty: an empty list allows nothing'),
    v.description(what),
  )
const duration = (what: string) =>
  v.pipe(
    v.string(),
    v.regex(/^(0|[1-9][0-9]{0,8})(ms|s|m|h|d)$/, 'must be a duration such as 30s or 5m'),
    v.description(what),
  )
const count = (what: string) =>
  v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(1_000_000), v.description(what))
const sha256 = v.pipe(
  v.string(),
  v.regex(
    /^[0-9a-f]{64}$/,
    'must be a SHA-256 as 64 lower-case hexadecimal digits; "cloakroom caller add" makes one',
  ),
)
const later = (what: string) =>
  v.optional(v.pipe(v.unknown(), v.description(`${what} (not supported by this version)`)))

const Identify = v.pipe(
  v.strictObject({
    proxyAuthorization: v.optional(
      v.strictObject({
        sha256: v.pipe(
          v.union([sha256, v.pipe(v.array(sha256), v.maxLength(8))]),
          v.description(
            "SHA-256 of the caller's password, several while a password is being replaced, or [] for none (revoked)",
          ),
        ),
      }),
    ),
    source: v.optional(
      v.pipe(v.picklist(['loopback']), v.description('every process of this machine that shows no password')),
    ),
    clientCertificate: later('a TLS client certificate'),
    unixPeer: later('the user at the other end of a unix socket'),
    kubernetesToken: later('a projected service account token'),
  }),
  v.description('How the caller is known: exactly one way'),
)

export const CallerSchema = v.strictObject({
  id: id('Name of the caller; also the user name of its proxy credentials'),
  identify: Identify,
  tenants: texts("Tenants that the caller may act for; ['*'] for all"),
})

const SwapSource = v.strictObject({
  secrets: texts("Secrets as tenant/name; */name means the exchange's own tenant"),
  in: texts('Locations: header.NAME, basic.user, basic.password, query.NAME, path'),
})

export const RuleSchema = v.strictObject({
  id: id('Name of the rule, in audit records and metrics'),
  callers: texts('Callers that the rule is for'),
  target: text('https://host, or https://*.example.com for exactly one label; port 443 unless written'),
  methods: v.optional(texts('Methods, in upper case; required unless mode is tunnel')),
  paths: v.optional(texts('Paths: * is one segment, ** the rest; required unless mode is tunnel')),
  swap: v.optional(
    v.pipe(v.array(SwapSource), v.description('Which secrets may stand where; none when absent')),
  ),
  response: v.optional(
    v.strictObject({
      redact: v.optional(
        v.pipe(v.boolean(), v.description('Look for the credential in the answer; default true')),
      ),
    }),
  ),
  limits: v.optional(
    v.strictObject({
      rate: v.optional(
        v.pipe(
          v.string(),
          v.regex(/^[1-9][0-9]{0,8}\/(s|m|h)$/, 'must be a rate such as 50/s, 100/m or 1000/h'),
          v.description('Requests per second, minute or hour, for each caller'),
        ),
      ),
      burst: v.optional(count('Requests that may come at once before the rate holds')),
      concurrency: v.optional(count('Requests at one time')),
      upstreamHead: v.optional(duration('How long the upstream may take for its response head')),
      idle: v.optional(duration('How long nothing may move in either direction')),
    }),
  ),
  mode: v.optional(
    v.pipe(
      v.picklist(['intercept', 'tunnel', 'observe']),
      v.description('intercept (default), tunnel (passed blind, no secret ever) or observe (roll-out)'),
    ),
  ),
  http2: v.optional(v.pipe(v.boolean(), v.description('Offer HTTP/2 (not supported by this version)'))),
})

export const TestSchema = v.strictObject({
  given: v.strictObject({
    caller: text('Caller that asks'),
    request: text("'POST https://api.example.com/v1/items', or 'CONNECT https://api.example.com'"),
    tenant: v.optional(text('What the caller says with Cloakroom-Tenant')),
    swap: v.optional(
      v.pipe(
        v.union([v.string(), v.array(v.string())]),
        v.description('Placeholders in the request: acme/stripe in header.authorization'),
      ),
    ),
    targets: v.optional(texts("Targets sealed with those secrets; the request's own when absent")),
  }),
  expect: v.strictObject({
    decision: v.pipe(
      v.picklist(['allow', 'deny', 'observe', 'intercept', 'tunnel']),
      v.description('allow, deny or observe for a request; intercept, tunnel or deny for CONNECT'),
    ),
    rule: v.optional(text('Rule that decides')),
    reason: v.optional(text('Reason of the denial, as in the audit record')),
  }),
})

export const PolicySchema = v.pipe(
  v.strictObject({
    version: v.pipe(v.literal(1), v.description('Version of this format')),
    unmatched: v.optional(
      v.pipe(
        v.picklist(['deny', 'observe']),
        v.description('What happens to hosts that no rule names: deny (default), or observe for roll-outs'),
      ),
    ),
    callers: v.optional(v.pipe(v.array(CallerSchema), v.description('The programs that may use the proxy'))),
    rules: v.optional(
      v.pipe(v.array(RuleSchema), v.description('What they may do; nothing else is allowed')),
    ),
    tests: v.optional(
      v.pipe(v.array(TestSchema), v.description('Run at load and by "cloakroom policy test"')),
    ),
  }),
  v.title('Cloakroom policy'),
)

export type CallerSource = v.InferOutput<typeof CallerSchema>
export type RuleSource = v.InferOutput<typeof RuleSchema>
export type TestSource = v.InferOutput<typeof TestSchema>
