/**
 * Tickets of the relay: what opens the private door, and for how long.
 */
import t from 'tap'
import type { Presented } from '../../src/model/caller.ts'
import type { Inbound } from '../../src/proxy/inbound.ts'
import { Tickets } from '../../src/proxy/relay.ts'

const PRESENTED: Presented = { isLoopback: true }
const REFUSED = { code: 'IDENTITY_UNKNOWN_TO_RELAY' }

/** A request at the private door with these tickets; nothing else of it is looked at. */
function requestWith(...tickets: readonly string[]): Inbound {
  const headers = tickets.map(ticket => ['Cloakroom-Relay', ticket] as const)
  return { head: { method: 'GET', rawTarget: '/', minor: 1, headers } } as unknown as Inbound
}

t.test('the private door opens to a ticket of this process and to no other', async t => {
  const foreign = new Tickets().issue(PRESENTED)
  const refused: Record<string, (nonce: string, id: string) => readonly string[]> = {
    'no ticket': () => [],
    'an empty one': () => [''],
    'a number alone': (_, id) => [id],
    'a number without a nonce': (_, id) => [`.${id}`],
    'a nonce alone': nonce => [nonce],
    'a nonce of one letter': (nonce, id) => [`${'A'.repeat(nonce.length)}.${id}`],
    'a nonce cut short': (nonce, id) => [`${nonce.slice(0, -1)}.${id}`],
    'a ticket of another process': () => [foreign],
    'a number that was not given': nonce => [`${nonce}.1`],
    'the same ticket twice': (nonce, id) => [`${nonce}.${id}`, `${nonce}.${id}`],
  }

  for (const [what, shownFor] of Object.entries(refused)) {
    const ours = new Tickets()
    const [nonce = '', id = ''] = ours.issue(PRESENTED).split('.')

    t.throws(() => ours.redeem(requestWith(...shownFor(nonce, id))), REFUSED, what)
    t.equal(`.${id}`, foreign.slice(foreign.indexOf('.')), 'numbers are the same everywhere')
  }
})

t.test('a ticket is good for one request, and for none once it was cancelled', async t => {
  const tickets = new Tickets()
  const used = tickets.issue(PRESENTED)
  const cancelled = tickets.issue(PRESENTED)

  const presented = tickets.redeem(requestWith(used))
  tickets.cancel(cancelled)

  t.equal(presented, PRESENTED)
  t.throws(() => tickets.redeem(requestWith(used)), REFUSED)
  t.throws(() => tickets.redeem(requestWith(cancelled)), REFUSED)
})
