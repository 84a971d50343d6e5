/**
 * How a client that does not trust our CA shows to the operator: in the metric of handshakes, or as a warning in the log.
 */
import { systemClock } from '../../../src/base/clock.ts'
import type { RunningSidecar } from '../../support/cli.ts'

/** A result of the handshake, or a close after one that went well. */
export type Distrust = 'unknown_ca' | 'bad_certificate' | 'reset' | 'silent'

const SHOWN = ['unknown_ca', 'bad_certificate', 'reset'] as const
const WARNING = 'may not trust our CA'

/** Handshakes with clients so far, by result. */
export async function handshakesOf(sidecar: RunningSidecar): Promise<Readonly<Record<string, number>>> {
  const answer = await fetch(`http://${sidecar.addresses.ops}/metrics`)
  const series = /^cloakroom_tls_handshakes_total\{side="client",result="(\w+)"\} (\d+)$/gm
  return Object.fromEntries(
    [...(await answer.text()).matchAll(series)].map(([, result = '', count]) => [result, Number(count)]),
  )
}

/** Gives a function that tells how distrust has shown since; it waits, since a client may be gone before its close is seen. */
export async function watchDistrust(sidecar: RunningSidecar): Promise<() => Promise<Distrust | undefined>> {
  const before = await handshakesOf(sidecar)
  const logged = sidecar.log().length
  return async () => {
    for (let round = 0; round < 250; round++) {
      const after = await handshakesOf(sidecar)
      const hasMore = (result: string) => (after[result] ?? 0) > (before[result] ?? 0)
      const shown = SHOWN.find(hasMore)
      if (shown !== undefined) return shown
      if (hasMore('ok') && sidecar.log().includes(WARNING, logged)) return 'silent'
      await systemClock.sleep(20)
    }
    return undefined
  }
}
