/**
 * Hosts that anybody can get a name or a path on, where a wide rule would hand credentials to strangers.
 *
 * Rule of this file: the lists are of hosts that many tenants share, plus the registries under which names are sold. They are a guard
 * against slips, not a boundary: the boundary is the list of targets sealed with each secret.
 */

// A wildcard whose base is one of these, or below one, matches names that strangers register (A8).
const SHARED_BASES = [
  'amazonaws.com',
  'amazonaws.com.cn',
  'googleapis.com',
  'core.windows.net',
  'azurewebsites.net',
  'azureedge.net',
  'azurefd.net',
  'cloudapp.net',
  'cloudapp.azure.com',
  'cloudfront.net',
  'workers.dev',
  'pages.dev',
  'r2.dev',
  'vercel.app',
  'netlify.app',
  'herokuapp.com',
  'fly.dev',
  'run.app',
  'appspot.com',
  'web.app',
  'firebaseapp.com',
  'cloudfunctions.net',
  'myshopify.com',
  'zendesk.com',
  'atlassian.net',
  'service-now.com',
  'okta.com',
  'auth0.com',
  'supabase.co',
  'ngrok.io',
  'ngrok.app',
  'ngrok.dev',
  'ngrok-free.app',
  'ngrok-free.dev',
  'github.io',
  'githubusercontent.com',
  'gitlab.io',
  'bitbucket.io',
  'onrender.com',
  'railway.app',
  'deno.dev',
  'surge.sh',
  'glitch.me',
  'repl.co',
  'digitaloceanspaces.com',
  'ondigitalocean.app',
  'backblazeb2.com',
  'wasabisys.com',
  'salesforce.com',
  'force.com',
  'sharepoint.com',
  'slack.com',
  'webhook.office.com',
  'trycloudflare.com',
  'nip.io',
  'sslip.io',
  'duckdns.org',
  'dyndns.org',
  'no-ip.org',
  'ddns.net',
  'blogspot.com',
  'wordpress.com',
] as const // prettier-ignore

// Exact hosts where the path says whose it is: a rule with swaps must name paths.
const SHARED_BY_PATH: readonly RegExp[] = [
  /^s3[.-][a-z0-9-]+\.amazonaws\.com$/,
  /^s3\.amazonaws\.com$/,
  /^s3\.dualstack\.[a-z0-9-]+\.amazonaws\.com$/,
  /^storage\.googleapis\.com$/,
  /^raw\.githubusercontent\.com$/,
  /^hooks\.slack\.com$/,
  /^api\.telegram\.org$/,
]

// Second-level labels under which country registries sell names: co.uk, com.au, org.br …
const REGISTRY_LABELS: ReadonlySet<string> = new Set(
  'ac co com edu gob gouv gov govt go gen id ind info ltd me mil mod ne net nhs nic nom or org plc police res sch web'.split(
    ' ',
  ),
)

/** Tells whether strangers can get names directly under `base`, so that `*.base` would match theirs. */
export function isSharedBase(base: string): boolean {
  const labels = base.split('.')
  const last = labels.at(-1) ?? ''
  if (labels.length === 1) return true
  if (labels.length === 2 && last.length === 2 && REGISTRY_LABELS.has(labels[0] ?? '')) return true
  return SHARED_BASES.some(shared => base === shared || base.endsWith(`.${shared}`))
}

/** Tells whether the path, and not the host, says whose endpoint this is. */
export function isSharedByPath(host: string): boolean {
  return SHARED_BY_PATH.some(pattern => pattern.test(host))
}
