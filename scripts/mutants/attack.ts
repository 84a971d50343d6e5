/**
 * Guards that reading the data path against the threat model added, and what they are exchanged for.
 */
import type { Mutant } from './mutant.ts'

export const ATTACK: readonly Mutant[] = [
  {
    name: 'a revocation uses up the guesses of those who were cut',
    file: 'proxy/open-exchange.ts',
    find: "if (error.code === 'SWAP_REFUSED' && !isCut && this.record.caller !== undefined)",
    replace: "if (error.code === 'SWAP_REFUSED' && this.record.caller !== undefined)",
    test: 'attacks/placeholder',
    only: 'revoking a secret in wide use',
  },
  {
    name: 'a caller of all tenants has the rate again with every name it makes up',
    file: 'proxy/limits.ts',
    find: "const proven = swaps.length > 0 ? (tenant ?? '') : ''",
    replace: "const proven = swaps.length >= 0 ? (tenant ?? '') : ''",
    test: 'attacks/placeholder',
    only: 'a rate is a caller',
  },
  {
    name: 'one caller may have all the tunnels',
    file: 'proxy/limits.ts',
    find: 'const open = this.#open.get(callerId) ?? 0',
    replace: 'const open = 0',
    test: 'attacks/identity',
    only: 'one caller cannot have all the tunnels',
  },
  {
    name: 'a tunnel that was closed keeps its place',
    file: 'proxy/limits.ts',
    find: 'if (left > 0) this.#open.set(callerId, left)',
    replace: 'if (left > 0) this.#open.set(callerId, left + 1)',
    test: 'attacks/identity',
    only: 'one caller cannot have all the tunnels',
  },
  {
    name: 'a connection goes on after CONNECT inside a tunnel',
    file: 'proxy/outcome.ts',
    find: "  'REQUEST_METHOD',\n",
    replace: '',
    test: 'attacks/destination',
    only: 'what follows a refused CONNECT',
  },
  {
    name: 'a connection goes on after an upgrade that was refused',
    file: 'proxy/outcome.ts',
    find: "  'REQUEST_UPGRADE',\n",
    replace: '',
    test: 'attacks/destination',
    only: 'what follows a refused CONNECT',
  },
  {
    name: 'a connection goes on after another identity was shown in it',
    file: 'proxy/outcome.ts',
    find: "  'IDENTITY_REJECTED',\n",
    replace: '',
    test: 'attacks/identity',
    only: 'a request in a tunnel cannot change who it is',
  },
  {
    name: 'who used up its guesses may not even send what holds no placeholder',
    file: 'proxy/exchange.ts',
    find: '  exchange.sawCaller(identified.caller.id, presented)\n',
    replace:
      '  exchange.sawCaller(identified.caller.id, presented)\n  deps.guesses.check(identified.caller.id)\n',
    test: 'attacks/placeholder',
    only: 'who guesses placeholders',
  },
  {
    name: 'an upstream may ask for proxy credentials',
    file: 'proxy/answer-head.ts',
    find: 'if (head.status === 407)',
    replace: 'if (head.status === 0)',
    test: 'attacks/response',
    only: 'an upstream that asks for proxy credentials',
  },
  {
    name: 'a plain answer is not asked for',
    file: 'proxy/arm.ts',
    find: "...(isRedacted(permit) ? [['Accept-Encoding', 'identity'] as const] : []),",
    replace: '',
    test: 'attacks/request',
    only: 'headers that turn the method or the route',
  },
  {
    name: 'the admin API repeats the name of a member that it does not know',
    file: 'api/operation.ts',
    find: '(isUnknownMember ? names.slice(0, -1) : names)',
    replace: 'names',
    test: 'leaks/canary',
    only: 'no flow leaves a credential anywhere',
  },
  {
    name: 'the host of a target is written down with a placeholder in it',
    file: 'proxy/open-exchange.ts',
    find: 'formatTarget({ ...target, host: maskedHost(target.host) })',
    replace: 'formatTarget({ ...target, host: maskedHost(target.host) && target.host })',
    test: 'attacks/placeholder',
    only: 'a host that holds a placeholder',
  },
]
