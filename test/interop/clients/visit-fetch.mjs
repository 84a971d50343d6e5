// Visits a URL with fetch: visit-fetch.mjs URL AUTHORIZATION [FILE]. Prints the status and the answer.
import { openAsBlob } from 'node:fs'

const [url, authorization, file] = process.argv.slice(2)
const headers = { Authorization: authorization }
const wish = file === undefined ? { headers } : { method: 'POST', headers, body: (await openAsBlob(file)).stream(), duplex: 'half' }
try {
  const answer = await fetch(url, wish)
  console.log(`${answer.status}\n${await answer.text()}`)
} catch (error) {
  console.error(error.cause?.code ?? error)
  process.exitCode = 1
}
