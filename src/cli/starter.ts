/**
 * The files that `init` writes for people to go on from. Tests load both.
 */

export const STARTER_CONFIG = `# Configuration of Cloakroom. docs/config.md lists every option; what is absent has its default.
# Paths are relative to this file. CLOAKROOM_PROXY_LISTEN=... overrides proxy.listen, and so on.

proxy:  { listen: 127.0.0.1:3128 }        # CONNECT, and absolute-form http:// and https://
# relay: { listen: 127.0.0.1:3129 }       # /https/api.example.com/v1/...: for apps that cannot use a proxy
ops:    { listen: 127.0.0.1:9464 }        # /metrics /livez /readyz /startupz
admin:  { socket: state/admin.sock }

policy: { files: [policy.yaml] }
store:  { kind: sqlite, file: state/store.db }
keys:   { kind: file, file: keys/root.key }       # back this file up, apart from the store
ca:     { certificate: state/ca.pem, key: keys/ca.key.sealed }

audit:
  durability: written                     # or fsync: survives power loss too
  sinks: [{ kind: file, path: state/audit.jsonl, required: true }]
`

export const STARTER_POLICY = `# Who may send what where. Nothing is allowed that no rule allows. docs/policy.md is the guide.
version: 1

callers:
  # Every process on this machine, without a password. Made for a first try: "cloakroom caller add ID" makes
  # callers with passwords, and then this one can go.
  - id: local
    identify: { source: loopback }
    tenants: ['*']

rules: []
# An example. To use it, remove "rules: []" above and the # in front of these lines:
#
# rules:
#   - id: example-api
#     callers: [local]
#     target: https://api.example.com       # exact host; port 443 unless written
#     methods: [GET, POST]
#     paths: [/v1/**]                       # * is one segment, ** the rest
#     swap:
#       - secrets: ['*/example']            # tenant/name; * is the tenant of the request
#         in: [header.authorization]        # also basic.user, basic.password, query.NAME, path
#
# tests:
#   - given: { caller: local, request: 'GET https://api.example.com/v1/me', swap: acme/example in header.authorization }
#     expect: { decision: allow, rule: example-api }
#   - given: { caller: local, request: 'GET https://api.example.com/admin' }
#     expect: { decision: deny }
`
