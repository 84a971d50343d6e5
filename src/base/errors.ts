/**
 * Every error that Cloakroom can report, in one table, and the one class that carries them.
 *
 * Rules of this file: a code is AREA_WHAT, a past fact, and is never renamed. Details hold names, ids and numbers only,
 * never a header, a body, a query or a secret (threat-model.md K4). `source` tells who must act and is the metric label.
 * docs/errors.md is generated from this table.
 */

export const ERROR_SOURCES = ['caller', 'policy', 'secrets', 'upstream', 'sidecar', 'operator'] as const
export type ErrorSource = (typeof ERROR_SOURCES)[number]

type ErrorSpec = {
  /** HTTP status of the answer; 0 when the error never answers a request. */
  readonly status: number
  readonly source: ErrorSource
  /** True when the same request may succeed later without a change. */
  readonly retry: boolean
  // biome-ignore lint/suspicious/noExplicitAny: the table's rows each have details of their own
  readonly text: (details: any) => string
  readonly hint: string
}

type None = Record<never, never>

export const ERRORS = {
  // The request as it arrived.
  REQUEST_MALFORMED: {
    status: 400,
    source: 'caller',
    retry: false,
    text: (d: { what: string }) => `the request is malformed: ${d.what}`,
    hint: 'send one unambiguous HTTP/1.1 message (RFC 9112); docs/errors.md lists what is refused',
  },
  REQUEST_FRAMING: {
    status: 400,
    source: 'caller',
    retry: false,
    text: (d: { what: string }) => `the body's framing is ambiguous: ${d.what}`,
    hint: 'send exactly one Content-Length, or Transfer-Encoding: chunked, and never both',
  },
  REQUEST_HEAD_TOO_LARGE: {
    status: 431,
    source: 'caller',
    retry: false,
    text: (d: { limit: number }) => `the request head passes a limit of ${d.limit}`,
    hint: 'send fewer or shorter headers, or raise limits.requestHead',
  },
  REQUEST_VERSION: {
    status: 505,
    source: 'caller',
    retry: false,
    text: (_: None) => 'only HTTP/1.1 and HTTP/1.0 are served here',
    hint: 'send HTTP/1.1',
  },
  REQUEST_TRANSFER_CODING: {
    status: 501,
    source: 'caller',
    retry: false,
    text: (_: None) => 'the only transfer coding served is chunked, alone, in HTTP/1.1',
    hint: 'send Content-Length or Transfer-Encoding: chunked',
  },
  REQUEST_METHOD: {
    status: 405,
    source: 'caller',
    retry: false,
    text: (_: None) => 'this method is never forwarded',
    hint: 'TRACE and TRACK would echo credentials; CONNECT is not served inside a tunnel',
  },
  REQUEST_EXPECTATION: {
    status: 417,
    source: 'caller',
    retry: false,
    text: (_: None) => 'the only expectation served is 100-continue',
    hint: 'remove the Expect header',
  },
  REQUEST_UPGRADE: {
    status: 501,
    source: 'caller',
    retry: false,
    text: (_: None) => 'protocol upgrades are not carried by this version',
    hint: 'use a rule with mode: tunnel for this target, if no secret is needed there',
  },
  REQUEST_TIMEOUT: {
    status: 408,
    source: 'caller',
    retry: true,
    text: (d: { phase: string }) => `the caller was too slow: ${d.phase}`,
    hint: 'see limits in the configuration',
  },
  REQUEST_ABORTED: {
    status: 499,
    source: 'caller',
    retry: true,
    text: (_: None) => 'the caller went away before the answer was complete',
    hint: 'look at the caller',
  },
  REQUEST_TARGET: {
    status: 400,
    source: 'caller',
    retry: false,
    text: (d: { what: string }) => `the request's target is not acceptable: ${d.what}`,
    hint: 'send CONNECT host:port, or an absolute http:// or https:// target, with a plain ASCII host',
  },
  REQUEST_MISDIRECTED: {
    status: 421,
    source: 'caller',
    retry: false,
    text: (_: None) => 'Host differs from the target of the tunnel',
    hint: 'open a tunnel of its own for each host',
  },
  REQUEST_LOOP: {
    status: 508,
    source: 'caller',
    retry: false,
    text: (_: None) => 'this request has passed through this sidecar before',
    hint: 'the target leads back to the proxy; check NO_PROXY and upstream.resolve',
  },
  REQUEST_PROTOCOL: {
    status: 400,
    source: 'caller',
    retry: false,
    text: (_: None) => 'the first bytes in the tunnel are neither TLS nor HTTP',
    hint: 'use a rule with mode: tunnel for protocols that are not HTTP',
  },

  // Who asks.
  IDENTITY_REQUIRED: {
    status: 407,
    source: 'caller',
    retry: false,
    text: (_: None) => 'the caller is not identified',
    hint: 'set the proxy URL to http://CALLER:PASSWORD@HOST:PORT; "cloakroom caller add" makes them',
  },
  IDENTITY_REJECTED: {
    status: 407,
    source: 'caller',
    retry: false,
    text: (_: None) => 'the proxy credentials are not accepted',
    hint: 'check the user name and password in the proxy URL; "cloakroom caller rotate" makes a new password',
  },
  IDENTITY_REVOKED: {
    status: 403,
    source: 'caller',
    retry: false,
    text: (_: None) => 'the caller was revoked while its tunnel was open',
    hint: 'ask the operator',
  },
  IDENTITY_TENANT: {
    status: 403,
    source: 'caller',
    retry: false,
    text: (_: None) => 'the caller may not act for this tenant, or the request names two',
    hint: 'send one Cloakroom-Tenant header with a tenant of this caller',
  },
  IDENTITY_UNKNOWN_TO_RELAY: {
    status: 401,
    source: 'caller',
    retry: false,
    text: (_: None) => 'the relay needs Cloakroom-Authorization',
    hint: 'send Cloakroom-Authorization: Basic base64(caller:password)',
  },

  // What policy says.
  POLICY_DENIED: {
    status: 403,
    source: 'policy',
    retry: false,
    text: (d: { rule: string; reason: string }) => `denied by ${d.rule}: ${d.reason}`,
    hint: 'run "cloakroom policy explain" with this request id',
  },
  POLICY_RATE_LIMITED: {
    status: 429,
    source: 'policy',
    retry: true,
    text: (d: { rule: string; retryAfter: number }) => `rule ${d.rule} allows no more at this moment`,
    hint: 'slow down, or raise limits in the rule',
  },
  POLICY_INVALID: {
    status: 0,
    source: 'operator',
    retry: false,
    text: (d: { faults: number; first: string }) =>
      d.faults === 1 ? d.first : `${d.first} (and ${d.faults - 1} more)`,
    hint: 'correct the files and try again; docs/policy.md describes every key',
  },
  POLICY_TESTS_FAILED: {
    status: 0,
    source: 'operator',
    retry: false,
    text: (d: { failed: number; total: number }) => `${d.failed} of ${d.total} policy tests failed`,
    hint: 'correct the rules or the expectations; docs/policy.md shows how tests are written',
  },
  POLICY_NOT_LOADED: {
    status: 503,
    source: 'sidecar',
    retry: true,
    text: (_: None) => 'no policy has been loaded yet',
    hint: 'wait for /readyz, or run "cloakroom policy check"',
  },

  // Placeholders.
  SWAP_REFUSED: {
    status: 403,
    source: 'policy',
    retry: false,
    text: (_: None) => 'a placeholder in this request may not be swapped here',
    hint: 'run "cloakroom policy explain" with this request id; the audit record has the reason',
  },
  SWAP_REFUSED_IN_BODY: {
    status: 403,
    source: 'policy',
    retry: false,
    text: (_: None) => 'the body holds a placeholder, and bodies are not swapped here',
    hint: 'send the placeholder in a location that a rule names',
  },
  SWAP_VALUE_UNFIT: {
    status: 502,
    source: 'secrets',
    retry: false,
    text: (d: { secret: string; location: string }) =>
      `the value of ${d.secret} cannot stand in ${d.location}`,
    hint: 'put a new version without control characters, or swap it elsewhere',
  },
  SWAP_GUESSING: {
    status: 429,
    source: 'policy',
    retry: true,
    text: (_: None) => 'too many refused placeholders from this caller',
    hint: 'look at the caller: it sends placeholders that are not its own',
  },

  // Secrets and their store.
  SECRET_NOT_FOUND: {
    status: 404,
    source: 'operator',
    retry: false,
    text: (d: { secret: string }) => `there is no secret ${d.secret}`,
    hint: 'run "cloakroom secret list"',
  },
  SECRET_EXISTS: {
    status: 409,
    source: 'operator',
    retry: false,
    text: (d: { secret: string }) => `${d.secret} was changed meanwhile`,
    hint: 'look at its versions and try again',
  },
  SECRET_TARGETS_WIDENED: {
    status: 409,
    source: 'operator',
    retry: false,
    text: (d: { secret: string; added: string }) => `${d.secret} would gain the target ${d.added}`,
    hint: 'repeat with --widen if the secret really may be sent there',
  },
  SECRET_TARGETS_NARROWED: {
    status: 409,
    source: 'operator',
    retry: false,
    text: (d: { secret: string; removed: string }) => `${d.secret} would lose the target ${d.removed}`,
    hint: 'repeat with --narrow to keep only the targets given, or with --widen to add to those it has',
  },
  SECRET_INVALID: {
    status: 422,
    source: 'operator',
    retry: false,
    text: (d: { what: string }) => `the secret is not acceptable: ${d.what}`,
    hint: 'see "cloakroom secret put --help"',
  },
  SECRET_STORE_UNAVAILABLE: {
    status: 503,
    source: 'secrets',
    retry: true,
    text: (_: None) => 'the secret store cannot be read',
    hint: 'run "cloakroom doctor"',
  },
  SECRET_STORE_TIMEOUT: {
    status: 503,
    source: 'secrets',
    retry: true,
    text: (d: { waited: number }) => `the secret store gave no answer within ${d.waited} ms`,
    hint: 'run "cloakroom doctor"',
  },
  SECRET_TAMPERED: {
    status: 503,
    source: 'secrets',
    retry: false,
    text: (d: { secret: string; what: string }) =>
      `the stored form of ${d.secret} fails its check: ${d.what}`,
    hint: 'someone or something changed the store; restore a backup and read the audit log',
  },

  // Keys and the seal.
  KEY_FILE_UNSAFE: {
    status: 0,
    source: 'operator',
    retry: false,
    text: (d: { file: string; what: string }) => `the key file ${d.file} is not safe: ${d.what}`,
    hint: 'chmod 0400 the file and chown it to the user that runs cloakroom',
  },
  KEY_FILE_INVALID: {
    status: 0,
    source: 'operator',
    retry: false,
    text: (d: { file: string; what: string }) => `the key file ${d.file} cannot be used: ${d.what}`,
    hint: 'restore the key file from its backup: without it nothing can be opened',
  },
  KEY_WRONG: {
    status: 503,
    source: 'sidecar',
    retry: false,
    text: (d: { what: string }) => `the root key does not open ${d.what}`,
    hint: 'this is not the key that the store was made with; restore the right one from its backup',
  },
  KEY_UNAVAILABLE: {
    status: 503,
    source: 'secrets',
    retry: true,
    text: (_: None) => 'the key provider is not available',
    hint: 'run "cloakroom doctor"',
  },

  // The way to the upstream.
  NET_NAME_UNKNOWN: {
    status: 502,
    source: 'upstream',
    retry: true,
    text: (d: { target: string }) => `the name of ${d.target} does not resolve`,
    hint: 'check the name and the resolver of this machine',
  },
  NET_NAME_TIMEOUT: {
    status: 504,
    source: 'upstream',
    retry: true,
    text: (d: { target: string; waited: number }) =>
      `the name of ${d.target} did not resolve within ${d.waited} ms`,
    hint: 'check the resolver of this machine',
  },
  NET_ADDRESS_REFUSED: {
    status: 403,
    source: 'policy',
    retry: false,
    text: (d: { target: string; kind: string }) =>
      `${d.target} leads to a ${d.kind} address, which is never dialled`,
    hint: 'name the range in upstream.allowAddresses if it is meant; metadata addresses and our own listeners never are',
  },
  UPSTREAM_REFUSED: {
    status: 502,
    source: 'upstream',
    retry: true,
    text: (d: { target: string }) => `${d.target} refused the connection`,
    hint: 'is the service up, and is the port right?',
  },
  UPSTREAM_UNREACHABLE: {
    status: 502,
    source: 'upstream',
    retry: true,
    text: (d: { target: string }) => `there is no route to ${d.target}`,
    hint: 'check the network of this machine',
  },
  UPSTREAM_CONNECT_TIMEOUT: {
    status: 504,
    source: 'upstream',
    retry: true,
    text: (d: { target: string; waited: number }) =>
      `${d.target} did not accept a connection within ${d.waited} ms`,
    hint: 'raise limits.connect, or look at the upstream',
  },
  UPSTREAM_CERTIFICATE: {
    status: 502,
    source: 'upstream',
    retry: false,
    text: (d: { target: string; why: string }) =>
      `the certificate of ${d.target} is not acceptable: ${d.why}`,
    hint: 'name its CA in upstream.certificateAuthorities if it is a private one',
  },
  UPSTREAM_TLS: {
    status: 502,
    source: 'upstream',
    retry: false,
    text: (d: { target: string }) => `no TLS session with ${d.target} could be made`,
    hint: 'the upstream must speak TLS 1.2 or later',
  },
  UPSTREAM_CLOSED: {
    status: 502,
    source: 'upstream',
    retry: true,
    text: (d: { target: string }) => `${d.target} closed the connection before it answered`,
    hint: 'look at the upstream',
  },
  UPSTREAM_TRUNCATED: {
    status: 502,
    source: 'upstream',
    retry: true,
    text: (d: { target: string }) => `${d.target} ended its answer before it was complete`,
    hint: 'look at the upstream',
  },
  UPSTREAM_HEAD_TIMEOUT: {
    status: 504,
    source: 'upstream',
    retry: true,
    text: (d: { target: string; waited: number }) =>
      `${d.target} sent no response head within ${d.waited} ms`,
    hint: 'raise limits.upstreamHead, or look at the upstream',
  },
  UPSTREAM_IDLE_TIMEOUT: {
    status: 504,
    source: 'upstream',
    retry: true,
    text: (d: { target: string; waited: number }) => `${d.target} sent nothing for ${d.waited} ms`,
    hint: 'raise limits.idle, or look at the upstream',
  },
  UPSTREAM_MALFORMED: {
    status: 502,
    source: 'upstream',
    retry: false,
    text: (d: { target: string; what: string }) => `${d.target} sent a malformed answer: ${d.what}`,
    hint: 'look at the upstream',
  },
  UPSTREAM_HEAD_TOO_LARGE: {
    status: 502,
    source: 'upstream',
    retry: false,
    text: (d: { target: string; limit: number }) =>
      `the response head of ${d.target} passes a limit of ${d.limit}`,
    hint: 'look at the upstream, or raise limits.responseHead',
  },
  UPSTREAM_CODED: {
    status: 502,
    source: 'upstream',
    retry: false,
    text: (d: { target: string }) =>
      `${d.target} sent a content coding that was not asked for, so it cannot be checked`,
    hint: 'set response.redact: false in the rule if its answers can never hold the credential',
  },
  UPSTREAM_PROXY_AUTH: {
    status: 502,
    source: 'upstream',
    retry: false,
    text: (d: { target: string }) => `${d.target} asked for proxy credentials`,
    hint: 'an upstream has no business asking for these; look at the upstream',
  },

  // Certificates.
  TLS_AUTHORITY_INVALID: {
    status: 0,
    source: 'operator',
    retry: false,
    text: (d: { file: string; what: string }) => `the CA certificate ${d.file} cannot be used: ${d.what}`,
    hint: 'run "cloakroom ca rotate", or restore the file',
  },
  TLS_HANDSHAKE_FAILED: {
    status: 0,
    source: 'caller',
    retry: false,
    text: (d: { host: string; result: string }) =>
      `the caller's TLS handshake as ${d.host} failed: ${d.result}`,
    hint: 'unknown_ca means that the app does not trust the local CA; "cloakroom env" prints what it needs',
  },
  TLS_LEAF_REFUSED: {
    status: 429,
    source: 'sidecar',
    retry: true,
    text: (_: None) => 'too many new certificates at this moment',
    hint: 'a caller opens tunnels to very many hosts',
  },

  // The audit trail.
  AUDIT_UNAVAILABLE: {
    status: 503,
    source: 'sidecar',
    retry: true,
    text: (_: None) => 'the audit record cannot be written, so nothing was sent',
    hint: 'look at the audit sinks: disk space, permissions; run "cloakroom doctor"',
  },
  AUDIT_BROKEN: {
    status: 0,
    source: 'operator',
    retry: false,
    text: (d: { file: string; line: number; what: string }) => `${d.file}:${d.line}: ${d.what}`,
    hint: 'the log was changed or cut; compare with a copy and with the anchored checkpoints',
  },

  // The sidecar itself.
  SIDECAR_HALTED: {
    status: 503,
    source: 'sidecar',
    retry: true,
    text: (_: None) => 'the operator has halted this traffic',
    hint: 'run "cloakroom halt --lift" when it may go on',
  },
  SIDECAR_DRAINING: {
    status: 503,
    source: 'sidecar',
    retry: true,
    text: (_: None) => 'this sidecar is stopping',
    hint: 'try again; another instance takes over',
  },
  SIDECAR_OVERLOADED: {
    status: 503,
    source: 'sidecar',
    retry: true,
    text: (d: { what: string }) => `too many ${d.what} at this moment`,
    hint: 'see limits in the configuration',
  },
  SIDECAR_CANNOT_LISTEN: {
    status: 0,
    source: 'operator',
    retry: false,
    text: (d: { listener: string; address: string; what: string }) =>
      `${d.listener} cannot listen on ${d.address}: ${d.what}`,
    hint: 'end what listens there, or choose another address: CLOAKROOM_PROXY_LISTEN=127.0.0.1:3138, CLOAKROOM_OPS_LISTEN=127.0.0.1:9474',
  },
  STORAGE_FAILED: {
    status: 503,
    source: 'secrets',
    retry: true,
    text: (d: { what: string }) => `the database failed: ${d.what}`,
    hint: 'run "cloakroom doctor"; look at disk space and permissions of the state directory',
  },
  STORAGE_TOO_NEW: {
    status: 0,
    source: 'operator',
    retry: false,
    text: (d: { file: string; found: number; known: number }) =>
      `${d.file} has schema ${d.found}; this version knows up to ${d.known}`,
    hint: 'run a cloakroom at least as new as the one that wrote the store',
  },
  STORAGE_LOCKED: {
    status: 0,
    source: 'operator',
    retry: true,
    text: (d: { directory: string }) => `another process holds ${d.directory}`,
    hint: 'a sidecar or another command is at work there: stop it, or give --config of the sidecar, which takes changes through its admin.socket',
  },
  STORAGE_MISSING: {
    status: 0,
    source: 'operator',
    retry: false,
    text: (d: { file: string }) => `the store ${d.file} is gone, and the audit log beside it is not`,
    hint: 'restore the store from a backup; for an empty one run "cloakroom init" in another directory',
  },
  STORAGE_UNSAFE: {
    status: 0,
    source: 'operator',
    retry: false,
    text: (d: { path: string; what: string }) => `${d.path} is not safe: ${d.what}`,
    hint: 'chmod 0700 a directory, chmod 0600 a file, and chown it to the user that runs cloakroom',
  },
  CALLER_NOT_FOUND: {
    status: 404,
    source: 'operator',
    retry: false,
    text: (d: { caller: string }) => `the policy files have no caller ${d.caller}`,
    hint: 'run "cloakroom caller list"',
  },
  AUDIT_RECORD_NOT_FOUND: {
    status: 0,
    source: 'operator',
    retry: false,
    text: (d: { request: string }) =>
      `the audit log has no record of request ${d.request} that names a method and a target`,
    hint: 'look for the id with "cloakroom audit tail --json"; a request that could not be read has no target, and old files may have been put away',
  },
  API_MALFORMED: {
    status: 400,
    source: 'operator',
    retry: false,
    text: (d: { what: string }) => `the admin request is malformed: ${d.what}`,
    hint: 'see "cloakroom --help"',
  },
  API_NOT_FOUND: {
    status: 404,
    source: 'operator',
    retry: false,
    text: (d: { what: string }) => `there is no ${d.what}`,
    hint: 'the command line and the sidecar may be of different versions; compare "cloakroom version" and "cloakroom status"',
  },
  CONFIG_INVALID: {
    status: 0,
    source: 'operator',
    retry: false,
    text: (d: { faults: number; first: string }) =>
      d.faults === 1 ? d.first : `${d.first} (and ${d.faults - 1} more)`,
    hint: 'docs/config.md lists every option',
  },
  CONFIG_NOT_FOUND: {
    status: 0,
    source: 'operator',
    retry: false,
    text: (d: { tried: string }) => `there is no configuration: tried ${d.tried}`,
    hint: 'run "cloakroom init", or name one with --config',
  },
  CONFIG_EXISTS: {
    status: 0,
    source: 'operator',
    retry: false,
    text: (d: { file: string }) => `${d.file} exists already and is never overwritten`,
    hint: 'choose another directory, or go on with this one: "cloakroom run"',
  },
  CONFIG_UNSAFE_RUNTIME: {
    status: 0,
    source: 'operator',
    retry: false,
    text: (d: { what: string }) => `this process would not be safe: ${d.what}`,
    hint: 'remove it from the command line or the environment of cloakroom',
  },
  CONFIG_RUNTIME_TOO_OLD: {
    status: 0,
    source: 'operator',
    retry: false,
    text: (d: { found: string; needed: string }) =>
      `Node.js ${d.found} lacks security fixes; ${d.needed} is needed`,
    hint: 'inside a checkout use ./bin/cloakroom or npm run, which bring their own Node.js',
  },
  CLI_USAGE: {
    status: 0,
    source: 'operator',
    retry: false,
    text: (d: { what: string }) => d.what,
    hint: 'see "cloakroom --help"',
  },
  CLI_UNREACHABLE: {
    status: 0,
    source: 'operator',
    retry: true,
    text: (d: { what: string }) => `cannot reach ${d.what}`,
    hint: 'is the sidecar running? "cloakroom run" starts it',
  },
  CLI_FAILED: {
    status: 0,
    source: 'operator',
    retry: false,
    text: (d: { what: string }) => d.what,
    hint: 'see "cloakroom doctor"',
  },
  INTERNAL_BROKEN_INVARIANT: {
    status: 500,
    source: 'sidecar',
    retry: false,
    text: (_: { what: string }) => 'an internal check failed',
    hint: 'this is a fault in cloakroom; the log has what is needed to report it',
  },
} as const satisfies Record<string, ErrorSpec>

export type ErrorCode = keyof typeof ERRORS
export type ErrorDetails<C extends ErrorCode> = Parameters<(typeof ERRORS)[C]['text']>[0]

/** An error with a code of ERRORS. Match on `code`; the message is for people and never shown to a caller unasked. */
export class CloakroomError<C extends ErrorCode = ErrorCode> extends Error {
  readonly code: C
  readonly details: ErrorDetails<C>

  constructor(code: C, details: ErrorDetails<C>, options?: { cause?: unknown }) {
    super(errorText(code, details), options)
    this.name = 'CloakroomError'
    this.code = code
    this.details = details
  }

  get status(): number {
    return ERRORS[this.code].status
  }

  get source(): ErrorSource {
    return ERRORS[this.code].source
  }

  get hint(): string {
    return ERRORS[this.code].hint
  }
}

/** Tells whether `cause` is a CloakroomError with this code. */
export function isError<C extends ErrorCode>(cause: unknown, code: C): cause is CloakroomError<C> {
  return cause instanceof CloakroomError && cause.code === code
}

function errorText<C extends ErrorCode>(code: C, details: ErrorDetails<C>): string {
  const text = ERRORS[code].text as (details: ErrorDetails<C>) => string
  return text(details)
}
