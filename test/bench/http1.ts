/**
 * What the codec costs: nanoseconds for a head, read and written, and for a chunked body.
 *
 * The claim is that of src/http1: reading a head of 500 bytes takes less than 3 microseconds. Run it with
 * `npx node test/bench/http1.ts`; medians of several rounds, because one round on a shared machine means little.
 */
import { BodyReader } from '../../src/http1/body-reader.ts'
import { requestFraming } from '../../src/http1/framing.ts'
import { parseRequestHead, parseResponseHead } from '../../src/http1/head.ts'
import { writeRequestHead } from '../../src/http1/write.ts'

const REQUEST = Buffer.from(
  [
    'POST /v1/charges?expand=customer HTTP/1.1',
    'Host: api.stripe.com',
    'User-Agent: Stripe/v1 NodeBindings/14.21.0',
    'Authorization: Bearer sk_live_xclk_r0123456789012345678901abcdef',
    'Content-Type: application/x-www-form-urlencoded',
    'Content-Length: 53',
    'Accept: application/json',
    'Accept-Encoding: gzip, deflate, br',
    'Idempotency-Key: stripe-node-retry-5f1d7c1e-8a6f-4c8e-9d4e-0123456789ab',
    'Stripe-Version: 2023-10-16',
    'X-Stripe-Client-User-Agent: {"bindings_version":"14.21.0","lang":"node"}',
    'Connection: keep-alive',
    '\r\n',
  ].join('\r\n'),
  'latin1',
)

const RESPONSE = Buffer.from(
  [
    'HTTP/1.1 200 OK',
    'Server: nginx',
    'Date: Mon, 23 Nov 2026 19:53:45 GMT',
    'Content-Type: application/json',
    'Content-Length: 1024',
    'Connection: keep-alive',
    'Access-Control-Allow-Credentials: true',
    'Access-Control-Allow-Methods: GET, HEAD, PUT, PATCH, POST, DELETE',
    'Cache-Control: no-cache, no-store',
    'Request-Id: req_0123456789abcd',
    'Stripe-Version: 2023-10-16',
    'Vary: Origin',
    'Strict-Transport-Security: max-age=63072000; includeSubDomains; preload',
    '\r\n',
  ].join('\r\n'),
  'latin1',
)

const CHUNK = Buffer.concat([Buffer.from('400\r\n'), Buffer.alloc(1024, 'x'), Buffer.from('\r\n')])
const CHUNKED = Buffer.concat([...new Array<Buffer>(64).fill(CHUNK), Buffer.from('0\r\n\r\n')])
const WITH_BODY = Buffer.concat([REQUEST, Buffer.alloc(64 * 1024, 'x')])

let kept = 0
const keep = (slice: Buffer): void => {
  kept += slice.length
}

function headOf() {
  const parsed = parseRequestHead(REQUEST)
  if (parsed.kind !== 'head') throw new Error('the sample is not read')
  return parsed.head
}
const head = headOf()

const CASES: readonly { readonly name: string; readonly run: () => unknown }[] = [
  { name: `read a request head of ${REQUEST.length} bytes`, run: () => parseRequestHead(REQUEST) },
  { name: 'the same with 64 KiB of body behind it', run: () => parseRequestHead(WITH_BODY) },
  { name: `read a response head of ${RESPONSE.length} bytes`, run: () => parseResponseHead(RESPONSE) },
  { name: 'decide the framing of a request', run: () => requestFraming(head) },
  { name: 'write a request head', run: () => writeRequestHead(head.method, head.rawTarget, head.headers) },
  {
    name: 'read a chunked body of 64 chunks of 1 KiB',
    run: () => new BodyReader({ kind: 'chunked' }, 'response').read(CHUNKED, keep),
  },
]

function nanosEach(run: () => unknown, times: number): number {
  const start = process.hrtime.bigint()
  for (let i = 0; i < times; i++) run()
  return Number(process.hrtime.bigint() - start) / times
}

for (const { name, run } of CASES) {
  nanosEach(run, 20_000)
  const rounds = Array.from({ length: 9 }, () => nanosEach(run, 20_000)).sort((a, b) => a - b)
  console.log(`${String(Math.round(rounds[4] ?? 0)).padStart(8)} ns  ${name}`)
}
if (kept === 0) throw new Error('the bodies were not read')
