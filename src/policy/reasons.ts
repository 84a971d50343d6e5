/**
 * What each reason means to an operator, and what to do about it: for `policy explain`, the log and docs/policy.md.
 */
import type { Reason } from '../model/decision.ts'

export const REASON_TEXTS: Readonly<Record<Reason, string>> = {
  no_rule: 'no rule is for this caller: add one, or check which caller the request came as',
  caller_not_allowed: 'rules name this host, but none of them this caller',
  host_not_allowed: 'no rule names this host',
  port_not_allowed:
    'the caller has rules for this host, but for other ports; 443 is meant unless a rule writes one',
  scheme_not_allowed: 'the caller has rules for this host, but not for this scheme',
  method_not_allowed: 'a rule names this path, but not with this method; TRACE and TRACK are never forwarded',
  path_not_allowed: 'no rule of this caller for this host names this path',
  path_ambiguous:
    'the path can be read in more than one way, so it cannot be compared safely; send it in its plain form',
  tenant_not_allowed: 'the request names a tenant that the caller may not act for',
  tenant_unclear: 'the placeholders are of several tenants; a request acts for one',
  tunnel_only: 'the target is passed blind (mode: tunnel), so requests to it are not read here',
  placeholder_unknown:
    'the store knows no such placeholder: it was deleted, cut short, or belongs to another store',
  placeholder_foreign: "the placeholder is another tenant's",
  placeholder_damaged:
    'what stands there is not a whole placeholder: cut, changed, lengthened, encoded, in other letters, or without its prefix; copy it again',
  placeholder_misplaced: 'the placeholder stands in a place that the rule does not name for this secret',
  placeholder_not_allowed: 'the rule swaps other secrets, or the method is OPTIONS, which never gets one',
  placeholder_for_other_target:
    'the secret was stored for other targets; "cloakroom secret put --target" says which',
  placeholder_too_many: 'a request may hold at most four placeholders',
  secret_disabled: 'the secret is disabled',
  secret_revoked: 'the secret is revoked',
  secret_expired: 'the secret has expired; put a new version',
  secret_not_yet_valid: 'the secret is not valid yet',
  target_not_secure: 'a secret is never sent without TLS',
  target_is_address: 'a secret is never sent to an IP address that upstream.allowAddresses does not name',
  body_placeholder: 'the body holds a placeholder, and bodies are not swapped here',
  guessing: 'the caller has sent too many placeholders that are not its own',
  rate_limited: 'the limits of the rule are used up at this moment',
  address_refused: 'the name leads to an address that is never dialled',
  identity_missing: 'the request shows no caller',
  identity_rejected: 'the proxy credentials are wrong, unreadable, or no longer in force',
  identity_revoked: 'the caller was revoked while its tunnel was open',
  request_malformed: 'the request is malformed or ambiguous',
  halted: 'the operator has halted this traffic',
  audit_unavailable: 'the audit record cannot be written',
  store_unavailable: 'the secret store cannot be read',
  overloaded: 'the sidecar has too much to do at this moment',
}
