/**
 * What deploy/ holds, read by the programs that it is for: promtool against a sidecar's own metrics, systemd and kubectl.
 */
import { join } from 'node:path'
import { askThrough } from '../support/caller.ts'
import { aSidecar } from '../support/sidecar.ts'
import { anUpstream } from '../support/third-party.ts'
import { pathOf, withPrograms } from './support/needs.ts'
import { runProgram } from './support/process.ts'

const DEPLOY = join(import.meta.dirname, '..', '..', 'deploy')

withPrograms(
  ['promtool'],
  'promtool finds nothing to say about the metrics of a sidecar at work',
  async t => {
    const upstream = await anUpstream(t)
    const sidecar = await aSidecar(t, { upstreams: [upstream] })
    const placeholder = await sidecar.put('acme/token', 'real-credential-0123456789')
    await askThrough(sidecar, upstream.host, { headers: { Authorization: `Bearer ${placeholder}` } })
    await askThrough(sidecar, upstream.host, { headers: { Authorization: 'Bearer xclk_rnot-a-placeholder' } })

    const ran = await runProgram([pathOf('promtool'), 'check', 'metrics'], { input: await sidecar.metrics() })

    t.equal(ran.code, 0, ran.said)
    t.equal(ran.err, '')
  },
)

withPrograms(
  ['systemd-analyze'],
  'systemd reads the unit without a word, and holds it to be well confined',
  async t => {
    const unit = join(DEPLOY, 'systemd', 'cloakroom.service')

    const verified = await runProgram([pathOf('systemd-analyze'), 'verify', '--man=no', unit])
    const judged = await runProgram([
      pathOf('systemd-analyze'),
      'security',
      '--offline=true',
      '--threshold=20',
      unit,
    ])

    // The binary is not installed on the machine that tests.
    const complaints = verified.err
      .split('\n')
      .filter(line => line !== '' && !line.includes('is not executable'))
    t.same(complaints, [])
    t.equal(judged.code, 0, judged.out.split('\n').at(-2) ?? judged.err)
  },
)

withPrograms(
  ['kubectl'],
  'kubectl builds the manifests, with what the sidecar needs to be confined',
  async t => {
    const ran = await runProgram([pathOf('kubectl'), 'kustomize', join(DEPLOY, 'kubernetes')])

    t.equal(ran.code, 0, ran.said)
    t.match(ran.out, 'restartPolicy: Always', 'a native sidecar')
    t.match(ran.out, 'readOnlyRootFilesystem: true')
    t.match(ran.out, 'runAsNonRoot: true')
  },
)
