/**
 * What the file system refuses, as people read it.
 */
import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { describeFileError } from '../../src/cli/file-error.ts'

const errorOf = (work: () => unknown): unknown => {
  try {
    return work()
  } catch (cause) {
    return cause
  }
}

t.test('an error that names no path is not told as one of a file', async t => {
  t.equal(describeFileError(new Error('ENOENT: open /x')), undefined)
  t.equal(
    describeFileError(Object.assign(new Error('x'), { code: 'ECONNREFUSED', syscall: 'connect' })),
    undefined,
  )
  t.equal(describeFileError('ENOENT'), undefined)
})

t.test('says what could not be done, with which path, and why', async t => {
  const directory = t.testdir({ file: '' })
  const path = join(directory, 'file')

  t.equal(
    describeFileError(errorOf(() => readFileSync(`${path}.gone`))),
    `cannot open ${path}.gone: no such file`,
  )
  t.equal(
    describeFileError(errorOf(() => readdirSync(join(path, 'x')))),
    `cannot list ${path}/x: a part of the path is not a directory`,
  )
  t.equal(describeFileError(errorOf(() => mkdirSync(path))), `cannot make ${path}: it exists already`)
  t.equal(
    describeFileError(Object.assign(new Error(''), { code: 'EACCES', syscall: 'open', path: '/x' })),
    'cannot open /x: permission denied',
  )
})
