// Visits a URL with node:https: visit-https.mjs URL AUTHORIZATION [FILE]. Prints the status and the answer.
// With AGENT=own through an agent of its own, as SDKs do.
import { createReadStream } from 'node:fs'
import https from 'node:https'

const [url, authorization, file] = process.argv.slice(2)
const agent = process.env.AGENT === 'own' ? { agent: new https.Agent({ keepAlive: true, maxSockets: 1 }) } : {}
const request = https.request(url, {
  method: file === undefined ? 'GET' : 'POST',
  headers: { Authorization: authorization },
  ...agent,
})
request.on('response', async answer => {
  const chunks = []
  for await (const chunk of answer) chunks.push(chunk)
  console.log(`${answer.statusCode}\n${Buffer.concat(chunks)}`)
  agent.agent?.destroy()
})
request.on('error', error => {
  console.error(error.code ?? error)
  process.exitCode = 1
})
if (file === undefined) request.end()
else createReadStream(file).pipe(request)
