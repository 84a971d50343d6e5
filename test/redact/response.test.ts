import t from 'tap'
import { askForPlainAnswer, isPlainAnswer, withoutSteering } from '../../src/redact/response.ts'

t.test('an answer with any content coding but identity cannot be searched', async t => {
  for (const coding of ['gzip', 'br', 'GZIP', 'identity, gzip', 'x', 'identity;q=1'])
    t.equal(isPlainAnswer([['content-ENCODING', coding]]), false, coding)
  t.equal(
    isPlainAnswer([
      ['Content-Encoding', 'identity'],
      ['Content-Encoding', 'gzip'],
    ]),
    false,
  )
})

t.test('an answer without coding, or with identity, can', async t => {
  t.equal(isPlainAnswer([]), true)
  t.equal(isPlainAnswer([['Content-Encoding', 'Identity']]), true)
  t.equal(isPlainAnswer([['Content-Encoding', '']]), true)
})

t.test('asks for the whole answer in plain bytes, whatever the caller asked for (D2)', async t => {
  const asked = askForPlainAnswer([
    ['Host', 'x'],
    ['accept-encoding', 'gzip'],
    ['Accept-Encoding', 'br'],
    ['Range', 'bytes=0-9'],
    ['IF-RANGE', '"a"'],
    ['Accept', '*/*'],
  ])

  t.same(asked, [
    ['Host', 'x'],
    ['Accept', '*/*'],
    ['Accept-Encoding', 'identity'],
  ])
})

t.test(
  'an upstream cannot steer the caller past us, ask for its proxy credentials or speak in our name',
  async t => {
    const headers = [
      ['Alt-Svc', 'h3=":443"'],
      ['Proxy-Authenticate', 'Basic'],
      ['proxy-status', 'x'],
      ['Cloakroom-Error', 'X'],
      ['CLOAKROOM-REQUEST-ID', 'X'],
      ['WWW-Authenticate', 'Basic realm="git"'],
    ] as const

    t.same(withoutSteering(headers), [['WWW-Authenticate', 'Basic realm="git"']])
  },
)

t.test('leaves the very list where there is nothing to take out', async t => {
  const headers = [['Content-Type', 'text/plain']] as const

  t.equal(withoutSteering(headers), headers)
})
