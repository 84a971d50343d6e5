/**
 * Makes a Node.js app use the proxy that HTTPS_PROXY names, also where the app, or an SDK in it, brings agents of its own, and on
 * releases that know no proxy variables at all. `cloakroom exec` and `cloakroom env` put it into NODE_OPTIONS.
 *
 * Plain JavaScript without dependencies, for Node.js 18 and later: it runs inside other people's programs. It prints nothing, and
 * what it cannot do it leaves as it was. CLOAKROOM_PRELOAD=off turns it off.
 */
import { realpathSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import { isIP } from 'node:net'
import tls from 'node:tls'
import { fileURLToPath } from 'node:url'

const DISPATCHER = Symbol.for('undici.globalDispatcher.1')
const CONNECT_TIMEOUT_MS = 30_000

// The originals, taken before anything is replaced: the way to the proxy itself never goes through the proxy.
const plainRequest = http.request
const plainAddRequest = http.Agent.prototype.addRequest
const plainCreateConnection = https.Agent.prototype.createConnection

const variable = name => process.env[name.toLowerCase()] || process.env[name.toUpperCase()] || ''

/** Reads the proxy's URL; undefined when there is none, or one that is not plain http. */
function readProxy(name) {
  const text = variable(name)
  if (text === '') return undefined
  try {
    const url = new URL(text)
    if (url.protocol !== 'http:') return undefined
    const credentials = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`
    return {
      host: url.hostname.replace(/^\[|\]$/g, ''),
      port: Number(url.port || 80),
      authorization: url.username === '' ? undefined : `Basic ${Buffer.from(credentials).toString('base64')}`,
    }
  } catch {
    return undefined
  }
}

/** Tells whether NO_PROXY names the host: exact names and addresses, suffixes with or without a dot, host:port, "*". */
export function isBypassed(host, port, list = variable('NO_PROXY')) {
  const name = host.toLowerCase().replace(/^\[|\]$/g, '').replace(/\.$/, '')
  return list
    .toLowerCase()
    .split(/[\s,]+/)
    .filter(item => item !== '')
    .some(item => {
      if (item === '*') return true
      const match = /^(.*?):(\d+)$/.exec(isIP(item) === 6 ? '' : item)
      if (match !== null && Number(match[2]) !== Number(port)) return false
      const pattern = (match === null ? item : match[1]).replace(/^\*?\./, '').replace(/^\[|\]$/g, '')
      return name === pattern || (isIP(name) === 0 && name.endsWith(`.${pattern}`))
    })
}

/** Opens a tunnel through the proxy and calls back with its socket. */
function openTunnel(proxy, host, port, callback) {
  const name = isIP(host) === 6 ? `[${host}]` : host
  const request = plainRequest({
    host: proxy.host,
    port: proxy.port,
    method: 'CONNECT',
    path: `${name}:${port}`,
    agent: false,
    timeout: CONNECT_TIMEOUT_MS,
    headers: {
      Host: `${name}:${port}`,
      ...(proxy.authorization === undefined ? {} : { 'Proxy-Authorization': proxy.authorization }),
    },
  })
  let isDone = false
  const done = (error, socket) => {
    if (isDone) return
    isDone = true
    callback(error, socket)
  }
  request.once('connect', (response, socket, head) => {
    socket.setTimeout(0)
    if (response.statusCode !== 200) {
      socket.destroy()
      return done(proxyError(response))
    }
    if (head.length > 0) socket.unshift(head)
    done(null, socket)
  })
  // A refusal with a body may come as an ordinary response.
  request.once('response', response => {
    response.resume()
    done(proxyError(response))
  })
  request.once('timeout', () => request.destroy(new Error('the proxy did not answer')))
  request.once('error', error => done(error))
  request.end()
}

function proxyError(response) {
  const code = response.headers['cloakroom-error']
  const error = new Error(`the proxy refused the tunnel: ${response.statusCode}${code === undefined ? '' : ` ${code}`}`)
  error.code = 'ERR_PROXY_TUNNEL'
  return error
}

/** Replaces what https.Agent and its subclasses connect with. */
function patchHttps(proxy) {
  https.Agent.prototype.createConnection = function createConnection(...given) {
    const [options, callback] = normalize(given)
    const host = options.host ?? options.hostname ?? 'localhost'
    const port = options.port ?? 443
    const isHandled =
      typeof callback !== 'function' ||
      options.socketPath !== undefined ||
      options.socket !== undefined ||
      this?.options?.proxyEnv !== undefined || // Node proxies this agent itself
      isBypassed(host, port)
    if (isHandled) return plainCreateConnection.apply(this, given)
    openTunnel(proxy, host, port, (error, socket) => {
      if (error !== null) return callback(error)
      const servername = options.servername ?? (isIP(host) === 0 ? host : '')
      callback(null, tls.connect({ ...options, socket, servername, host, port: undefined, path: undefined }))
    })
    return undefined
  }
}

// createConnection(port, host, options, callback), with all but the first left out at will.
function normalize(given) {
  const callback = typeof given.at(-1) === 'function' ? given.at(-1) : undefined
  const objects = given.filter(item => typeof item === 'object' && item !== null)
  const options = Object.assign({}, ...objects)
  if (typeof given[0] === 'number') options.port = given[0]
  if (typeof given[1] === 'string') options.host = given[1]
  return [options, callback]
}

/** Makes http.Agent send plain requests to the proxy, in absolute form. */
function patchHttp(proxy) {
  http.Agent.prototype.addRequest = function addRequest(request, options, ...rest) {
    const isPlain = !(this instanceof https.Agent) && (options?.protocol ?? 'http:') === 'http:' && this.protocol !== 'https:'
    const host = options?.host ?? options?.hostname ?? 'localhost'
    const port = options?.port ?? 80
    const isHandled =
      !isPlain ||
      typeof options !== 'object' ||
      options.socketPath ||
      request._header !== null || // the head is written already and cannot be changed
      request.method === 'CONNECT' ||
      this.options?.proxyEnv !== undefined ||
      !request.path.startsWith('/') ||
      isBypassed(host, port)
    if (isHandled) return plainAddRequest.call(this, request, options, ...rest)
    const name = isIP(host) === 6 ? `[${host}]` : host
    request.path = `http://${name}${Number(port) === 80 ? '' : `:${port}`}${request.path}`
    if (proxy.authorization !== undefined) request.setHeader('Proxy-Authorization', proxy.authorization)
    return plainAddRequest.call(this, request, { ...options, host: proxy.host, hostname: proxy.host, port: proxy.port }, ...rest)
  }
}

/** Gives fetch a dispatcher that goes through the proxy, where Node does not do it itself. */
function patchFetch(proxy) {
  if (typeof globalThis.fetch !== 'function' || nodeProxiesFetch()) return
  void globalThis.FormData // loads Node's fetch, which then has a dispatcher
  const Agent = globalThis[DISPATCHER]?.constructor
  if (typeof Agent !== 'function') return
  const connect = (options, callback) => {
    const isSecure = options.protocol === 'https:'
    const host = options.hostname.replace(/^\[|\]$/g, '')
    const port = Number(options.port || (isSecure ? 443 : 80))
    const finish = (error, socket) => {
      if (error) return callback(error)
      if (!isSecure) return callback(null, socket)
      const servername = options.servername || (isIP(host) === 0 ? host : '')
      const secure = tls.connect({ socket, servername, host, ALPNProtocols: ['http/1.1'] })
      secure.once('secureConnect', () => callback(null, secure))
      secure.once('error', callback)
    }
    if (isBypassed(host, port)) return directly(host, port, finish)
    openTunnel(proxy, host, port, finish)
  }
  try {
    globalThis[DISPATCHER] = new Agent({ connect })
  } catch {
    // A fetch of another make: it stays as it was.
  }
}

function directly(host, port, callback) {
  import('node:net').then(net => {
    const socket = net.connect({ host, port })
    socket.once('connect', () => callback(null, socket))
    socket.once('error', callback)
  }, callback)
}

// nodejs.org/api/http.html: fetch follows the variables with NODE_USE_ENV_PROXY=1 since 22.21 and 24.0.
function nodeProxiesFetch() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  const isAsked = process.env.NODE_USE_ENV_PROXY === '1' || process.execArgv.includes('--use-env-proxy')
  return isAsked && (major >= 24 || (major === 22 && minor >= 21))
}

// NODE_OPTIONS reaches every Node below the app, cloakroom's own commands included.
function isCloakroom() {
  try {
    const main = realpathSync(process.argv[1] ?? '')
    const own = fileURLToPath(new URL('../../main', import.meta.url))
    return main === `${own}.ts` || main === `${own}.js`
  } catch {
    return false
  }
}

const secureProxy = readProxy('HTTPS_PROXY')
const plainProxy = readProxy('HTTP_PROXY')
if (process.env.CLOAKROOM_PRELOAD !== 'off' && !isCloakroom()) {
  if (secureProxy !== undefined) patchHttps(secureProxy)
  if (plainProxy !== undefined) patchHttp(plainProxy)
  if (secureProxy !== undefined) patchFetch(secureProxy)
}
