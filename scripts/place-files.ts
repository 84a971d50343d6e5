/**
 * Copies files from where Kubernetes mounts them to where Cloakroom takes them, with the owner and mode that it demands:
 *
 *   node scripts/place-files.ts FROM TO [FROM TO …]
 *
 * A Secret's files belong to root and are links, in a directory that everybody may write to or nobody; keys and store must belong to
 * the sidecar's own user and to nobody else (src/keys/private-file.ts, src/storage/private-directory.ts). TO is made with mode 0700,
 * *.db gets 0600 and the rest 0400. What is there already stays: a container that starts again goes on with the store that it has.
 */
import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'

const DIRECTORY = 0o700
const STORE = 0o600
const KEY = 0o400

/** Copies every file of `from` that `to` does not have; gives the names of those copied. */
export function placeFiles(from: string, to: string): string[] {
  mkdirSync(to, { mode: DIRECTORY, recursive: true })
  // ..data and its like are how the kubelet replaces a mount in one step.
  const names = readdirSync(from).filter(name => !name.startsWith('.') && statSync(join(from, name)).isFile())
  return names.filter(name => placeFile(join(from, name), join(to, name)))
}

function placeFile(source: string, file: string): boolean {
  if (existsSync(file)) return false
  const draft = `${file}.placing`
  rmSync(draft, { force: true })
  writeFileSync(draft, readFileSync(source), { flag: 'wx', mode: file.endsWith('.db') ? STORE : KEY })
  linkSync(draft, file) // whole or not there
  rmSync(draft)
  return true
}

function main(places: readonly string[]): number {
  if (places.length === 0 || places.length % 2 !== 0) {
    process.stderr.write('usage: place-files FROM TO [FROM TO …]\n')
    return 2
  }
  for (let i = 0; i < places.length; i += 2) {
    const [from = '', to = ''] = places.slice(i, i + 2)
    for (const name of placeFiles(from, to)) process.stdout.write(`placed ${join(to, name)}\n`)
  }
  return 0
}

if (import.meta.main) process.exitCode = main(process.argv.slice(2))
