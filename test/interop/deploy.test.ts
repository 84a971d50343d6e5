/**
 * What deploy/ holds, read by the programs that it is for: systemd and kubectl. Prometheus is next door.
 */
import { join } from 'node:path'
import { pathOf, withPrograms } from './support/needs.ts'
import { runProgram } from './support/process.ts'

const DEPLOY = join(import.meta.dirname, '..', '..', 'deploy')

withPrograms(['systemd-analyze'], 'systemd reads the unit, and holds it to be well confined', async t => {
  const unit = join(DEPLOY, 'systemd', 'cloakroom.service')
  const systemd = pathOf('systemd-analyze')

  const verified = await runProgram([systemd, 'verify', '--man=no', unit])
  const judged = await runProgram([systemd, 'security', '--offline=true', '--threshold=20', unit])

  // The binary is not installed on the machine that tests.
  const complaints = verified.err.split('\n').filter(line => line !== '' && !line.includes('not executable'))
  t.same(complaints, [])
  t.equal(judged.code, 0, judged.out.split('\n').at(-2) ?? judged.err)
})

withPrograms(['kubectl'], 'kubectl builds the manifests: a native sidecar that is confined', async t => {
  const ran = await runProgram([pathOf('kubectl'), 'kustomize', join(DEPLOY, 'kubernetes')])

  t.equal(ran.code, 0, ran.said)
  t.match(ran.out, 'restartPolicy: Always')
  t.match(ran.out, 'readOnlyRootFilesystem: true')
  t.match(ran.out, 'runAsNonRoot: true')
})
